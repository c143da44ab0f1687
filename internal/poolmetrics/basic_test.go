// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// busyPool makes a pool of n backends that have all had traffic.
func busyPool(t testing.TB, n int, basic bool) {
	t.Helper()
	p := pool.NewPool("web")
	p.BasicMetrics = basic
	p.SetManager(checked{})
	var members []*backend.Backend
	for i := range n {
		verdicts := []*health.Status{health.NewStatus(true), health.NewStatus(true), health.NewStatus(true)}
		address := fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250)
		b := backend.New("web", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}, backend.NewState(), verdicts[:1], nil)
		for k := range 20 {
			a := &backend.Attempt{Status: 200, FirstByte: time.Duration(k*i%997+1) * time.Millisecond}
			b.Begin(new(backend.Attempt))
			b.Answer(a)
			b.End(a, a.FirstByte, nil, false)
		}
		members = append(members, b)
	}
	p.SetMembers(pool.NewMembers(members))
	p.Activate()
	t.Cleanup(p.Deactivate)
}

// exposition returns what a scrape of the registry is, as text.
func exposition(t testing.TB) []byte {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// seriesOf counts the series of backends, by family.
func seriesOf(text []byte) map[string]int {
	n := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if name, _, _ := strings.Cut(line, "{"); strings.HasPrefix(name, "caddy_ballast_backend_") {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			n[name]++
		}
	}
	return n
}

// The basic series are those that docs/metrics.md says, and as many as it says.
func TestBasic(t *testing.T) {
	counts := make(map[bool]map[string]int)
	for _, basic := range []bool{true, false} {
		t.Run(fmt.Sprint("basic ", basic), func(t *testing.T) {
			busyPool(t, 1, basic)
			counts[basic] = seriesOf(exposition(t))
		})
	}
	var left []string
	total := map[bool]int{}
	for name, n := range counts[false] {
		total[false] += n
		total[true] += counts[true][name]
		if counts[true][name] == 0 {
			left = append(left, "`"+name+"`")
		} else if counts[true][name] != n {
			t.Errorf("%s has %d series where metrics are basic, of %d", name, counts[true][name], n)
		}
	}
	slices.Sort(left)
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	for _, want := range []string{
		"`basic` omits " + strings.Join(left[:len(left)-1], ", ") + " and " + left[len(left)-1],
		fmt.Sprintf("A backend with one health check has %d series with `full` and %d with `basic`", total[false], total[true]),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/metrics.md does not say %q", want)
		}
	}
	if unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(counts[true])), func(name string) bool { return counts[false][name] > 0 }); len(unknown) > 0 {
		t.Errorf("%v are not in full", unknown)
	}
}

// What docs/metrics.md says of 5,000 backends holds for any number.
func TestBasicIsSmall(t *testing.T) {
	size := make(map[bool]int)
	for _, basic := range []bool{true, false} {
		t.Run(fmt.Sprint("basic ", basic), func(t *testing.T) {
			busyPool(t, 200, basic)
			size[basic] = len(exposition(t))
		})
	}
	if ratio := float64(size[true]) / float64(size[false]); ratio > 0.35 {
		t.Errorf("%d bytes, of %d, which is a share of %.2f", size[true], size[false], ratio)
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, basic := range []bool{true, false} {
		b.Run(fmt.Sprint("basic ", basic), func(b *testing.B) {
			busyPool(b, 5000, basic)
			n := 0
			for b.Loop() {
				n = len(exposition(b))
			}
			b.ReportMetric(float64(n), "bytes")
		})
	}
}
