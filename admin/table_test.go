// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// small is a pool whose backends have no address but their id, no sessions and no answers.
func small() Pool {
	p := Pool{Name: "web"}
	for i, state := range []string{backend.StateUp, backend.StateDown, backend.StateDrain} {
		b := Backend{Settings: backend.Settings{ID: fmt.Sprintf("10.0.0.%d:8080", i)}, Address: fmt.Sprintf("10.0.0.%d:8080", i), State: state}
		if state == backend.StateDown {
			b.Reason = "dial tcp 10.0.0.1:8080: connect: connection refused, and so on"
		}
		p.Backends = append(p.Backends, b)
	}
	return p
}

func printTable(t *testing.T, like textTable, print func(*textTable)) string {
	t.Helper()
	var b bytes.Buffer
	like.w = &b
	print(&like)
	if err := like.flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// In a file the columns are always the same. On a terminal, columns without a value are left out,
// and no line is wider than the terminal, down to 60 columns.
func TestTablesFit(t *testing.T) {
	p := small()
	file := printTable(t, textTable{}, func(t *textTable) { t.backends(p) })
	for _, want := range []string{"ADDRESS", "TIER", "P99", "SESSIONS", "connection refused, and so on", "draining"} {
		if !strings.Contains(file, want) {
			t.Errorf("%s is missing in\n%s", want, file)
		}
	}
	for width := 60; width < 200; width++ {
		text := printTable(t, textTable{live: true, width: width}, func(t *textTable) { t.backends(p); t.line(""); t.pools([]Pool{p}) })
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("%d columns of %d: %s", n, width, text)
			}
		}
		for _, gone := range []string{"ADDRESS", "TIER", "P50", "SESSIONS"} {
			if strings.Contains(text, gone) {
				t.Fatalf("%s has no value and is in\n%s", gone, text)
			}
		}
		if !strings.Contains(text, "STATE") || !strings.Contains(text, "1 up, 1 down, 1 draining") {
			t.Fatalf("the states are missing at %d columns:\n%s", width, text)
		}
		if width >= 85 && !strings.Contains(text, "WEIGHT") {
			t.Fatalf("the reason, which may be clipped, displaces columns at %d:\n%s", width, text)
		}
		if hidden := !strings.Contains(text, "WEIGHT"); hidden != strings.Contains(text, "WEIGHT (--wide)") && hidden {
			t.Fatalf("a column is left out without a word at %d columns:\n%s", width, text)
		}
	}
}

// Only the states have colours, and only on a terminal.
func TestColours(t *testing.T) {
	text := printTable(t, textTable{live: true, colour: true, width: 100}, func(t *textTable) { t.backends(small()) })
	for _, want := range []string{"\x1b[32mup\x1b[0m ", "\x1b[31mdown\x1b[0m ", "\x1b[33mdraining\x1b[0m "} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not once in %q", want, text)
		}
	}
	if n := strings.Count(text, "\x1b"); n != 6 {
		t.Errorf("%d escape sequences in %q", n, text)
	}
	if text := printTable(t, textTable{}, func(t *textTable) { t.backends(small()) }); strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
}

// The note of a pool says what is the matter with it.
func TestNotes(t *testing.T) {
	held := small()
	held.Backends[0].Checks = []Check{{Held: true}, {Held: true}}
	for want, p := range map[string]Pool{
		"":                         small(),
		"all_down":                 {Reason: "all_down", Panic: true},
		"panic: health is ignored": {Panic: true},
		"guard: the failed checks of 1 backend are not believed": held,
	} {
		if got := note(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// 20 requests between two samples 2 s apart are 10 a second, whatever the mean is. A backend that
// is new, or counts anew, has the mean.
func TestRatesOfTwoSamples(t *testing.T) {
	pools := func(a, b int64) []Pool {
		return []Pool{{Name: "web", Backends: []Backend{{Address: "a:1", Requests: a, Rate: 3}, {Address: "b:1", Requests: b, Rate: 3}}}}
	}
	var s sampler
	now := time.Now()
	first := pools(100, 50)
	if s.set(first, now); first[0].Backends[0].Rate != 3 {
		t.Errorf("the first sample: %v", first)
	}
	second := pools(120, 0)
	second[0].Backends = append(second[0].Backends, Backend{Address: "c:1", Requests: 9, Rate: 4})
	s.set(second, now.Add(2*time.Second))
	for i, want := range []float64{10, 3, 4} {
		if got := second[0].Backends[i].Rate; got != want {
			t.Errorf("backend %d: %v a second, want %v", i, got, want)
		}
	}
}

// Quantiles are bounds of buckets, whose digits behind the second say nothing.
func TestQuantilesHaveTwoDigits(t *testing.T) {
	for s, want := range map[float64]string{0.0005243: "520µs", 0.01234: "12ms", 1.26: "1.3s", 0: "0s", 12.6: "13s", 0.99999: "1s"} {
		if got := quantile(Backend{Latency: map[string]float64{"p50": s}}, "p50"); got != want {
			t.Errorf("%v: got %s, want %s", s, got, want)
		}
	}
	if got := quantile(Backend{}, "p50"); got != "-" {
		t.Errorf("got %s without a quantile", got)
	}
}
