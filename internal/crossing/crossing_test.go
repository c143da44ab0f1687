// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

var (
	schedules = flag.Int("schedules", onePass(), "how many random schedules to run")
	seed      = flag.Uint64("seed", 0, "of the first schedule; 0 for a random one")
)

// onePass returns how many schedules give each pair one, or half of the pairs with the race detector.
func onePass() int {
	all := len(mechanisms) * (len(mechanisms) - 1) / 2
	if lbtest.RaceDetector {
		all /= 2
	}
	return all
}

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "crossing")
	if err == nil {
		err = os.Setenv("XDG_DATA_HOME", dir) // the instance's id
	}
	if err != nil {
		panic(err)
	}
	lbtest.Prime()
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// pair is one cell of the matrix.
type pair struct {
	a, b mechanism
	at   string // the letters of the properties at stake
}

// matrix reads the pairs of docs/decisions/009-crossings.md.
func matrix(t *testing.T) (pairs []pair) {
	t.Helper()
	data, err := os.ReadFile("../../docs/decisions/009-crossings.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| \d+ (.+)$`)
	for i, m := range row.FindAllStringSubmatch(string(data), -1) {
		cells := strings.Split(m[1], "|")
		if i >= len(mechanisms) || strings.TrimSpace(cells[0]) != string(mechanisms[i]) {
			t.Fatalf("row %d of the matrix is %q, want one for each mechanism in their order", i+1, cells[0])
		}
		for j := range i {
			if cell := strings.TrimSpace(cells[j+1]); cell != "" {
				pairs = append(pairs, pair{mechanisms[i], mechanisms[j], cell})
			}
		}
	}
	if want := len(mechanisms) * (len(mechanisms) - 1) / 2; len(pairs) != want {
		t.Fatalf("the matrix has %d pairs, want %d", len(pairs), want)
	}
	return pairs
}

// Each property is at stake somewhere, and each letter is one.
func TestMatrix(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range matrix(t) {
		for _, letter := range p.at {
			used[string(letter)] = true
			if properties[string(letter)] == "" {
				t.Errorf("%s and %s: there is no property %c", p.a, p.b, letter)
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(properties)); !slices.Equal(got, want) {
		t.Errorf("the matrix uses %v of the properties %v", got, want)
	}
}

// Random schedules for each pair of mechanisms, one after the other: what the
// configurations of a process share may not be used from two bubbles.
func TestSchedules(t *testing.T) {
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	pairs := matrix(t)
	for n, failed := 0, 0; n < *schedules && failed < 3; n++ {
		p := pairs[(first+uint64(n))%uint64(len(pairs))]
		s := generate(rand.New(rand.NewPCG(first, uint64(n))), p.a, p.b)
		found := run(t, s)
		if len(found) == 0 {
			continue
		}
		failed++
		s, v := shrink(s, found[0], func(s *schedule, property string) *violation { return fails(t, s, property) })
		t.Errorf("%s and %s, seed %d, schedule %d: %v (%s)\n%v", p.a, p.b, first, n, v, properties[v.property], s)
	}
	t.Logf("%d schedules of %d pairs", *schedules, len(pairs))
}

// A schedule that fails because of two events and a mechanism is shrunk to them.
func TestShrink(t *testing.T) {
	for i := range uint64(50) {
		s := generate(rand.New(rand.NewPCG(i, 1)), drain, guard)
		s.events = append(s.events, event{at: length, kind: "drain", backend: 1}, event{at: length, kind: "all sick"})
		small, v := shrink(s, violation{property: "N"}, func(s *schedule, property string) *violation {
			drained, sick := false, false
			for _, e := range s.events {
				drained = drained || e.kind == "drain" && e.backend == 1
				sick = sick || drained && e.kind == "all sick"
			}
			if !s.has(drain) || !sick {
				return nil
			}
			return &violation{property: property, what: "found"}
		})
		if len(small.events) != 2 || !slices.Equal(small.on, []mechanism{drain, guard, healthChecks}) || v.what != "found" {
			t.Fatalf("shrunk to %v", small)
		}
	}
}
