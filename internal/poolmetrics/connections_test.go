// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Backends that have had connections without HTTP have series of them: with basic metrics the bytes, and
// else the times, too. Others have none.
func TestCollectorOfConnections(t *testing.T) {
	p := pool.NewPool("db")
	var all []*backend.Backend
	for _, id := range []string{"used", "unused"} {
		all = append(all, backend.New("db", backend.Endpoint{Address: id + ":1", Settings: backend.Settings{ID: id, Weight: new(1)}}, backend.NewState(), nil, nil))
	}
	c := &all[0].Traffic
	for range 3 {
		c.Begin()
	}
	c.Connect(time.Second)
	c.Connect(2 * time.Second)
	c.Send(5)
	c.Receive(70)
	c.End(time.Minute, false)
	p.SetMembers(pool.NewMembers(all))
	p.Activate()
	defer p.Deactivate()

	want := map[bool]map[string]float64{true: {
		"caddy_ballast_backend_connection_bytes_total used sent db":     5,
		"caddy_ballast_backend_connection_bytes_total used received db": 70,
	}}
	want[false] = maps.Clone(want[true])
	want[false]["caddy_ballast_backend_connect_seconds used db"] = 3
	want[false]["caddy_ballast_backend_connect_seconds used db count"] = 2
	want[false]["caddy_ballast_backend_connection_duration_seconds used db"] = 60
	want[false]["caddy_ballast_backend_connection_duration_seconds used db count"] = 1
	lines := make(map[bool]int) // of a scrape: a summary has a sum and a count
	for basic, want := range want {
		p.BasicMetrics = basic
		registry := prometheus.NewPedanticRegistry()
		if err := Register(registry); err != nil {
			t.Fatal(err)
		}
		got := scrape(t, registry)
		maps.DeleteFunc(got, func(name string, _ float64) bool { return !strings.Contains(name, "_connect") })
		if !maps.Equal(got, want) {
			t.Errorf("basic %v: got %v\nwant %v", basic, got, want)
		}
		lines[basic] = len(got)
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	says := fmt.Sprintf("With TCP connections it has %d more with `full` and %d with `basic`", lines[false], lines[true])
	if !strings.Contains(strings.Join(strings.Fields(string(page)), " "), says) {
		t.Errorf("docs/metrics.md does not say %q", says)
	}
}
