// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// A pool may begin without backends. Requests get a 503 that says so until one comes,
// and again when the last has gone.
func TestPoolBeginsEmpty(t *testing.T) {
	for name, options := range map[string]string{"shared": `{}`, "null": `null`, "with options": `{"outliers":{"off":true},"max_requests":1,"queue":{"size":1}}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				apps := caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":` + options + `}}`)}
				config := `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},"dynamic_upstreams":{"source":"pool","name":"web"}}`
				p := load(t, apps, config)
				expectNone(t, p, pool.ReasonEmpty)
				if _, err := manager(t).Add(membership.Addition{Address: "a:1"}); err != nil {
					t.Fatal(err)
				}
				expectServed(t, p, "a:1")
				next := load(t, apps, config)
				p.Close()
				p = next
				expectServed(t, p, "a:1")
				if _, err := manager(t).Remove("a:1", membership.Removal{}); err != nil {
					t.Fatal(err)
				}
				expectNone(t, p, pool.ReasonEmpty)
				if got := p.Logged(); slices.Contains(got, emptyWarning) {
					t.Errorf("logged %q", got)
				}
				p.Close()
			})
			lbtest.NoLeaks(t)
		})
	}
}

// The generated name of a pool is none that a configuration can give to another one.
func TestGeneratedNamesAreNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(name string) string { return proxy("wrr", fmt.Sprintf(`"name":%q,`, name)+dials("a:1")) }
		socket := proxy("wrr", dials("unix//run/app"))
		p := loadAll(t, nil, proxy("wrr", `"health":[{"check":"tcp"}]`), proxy("wrr", `"health":[{"check":"tcp"}]`), socket,
			named("inline"), named("inline-2"), named("inline-unix__run_app"))
		for _, own := range p[3:] {
			expectServed(t, own, "a:1")
		}
		for _, name := range []string{"inline:", "inline:-2", "inline-unix:_run_app"} {
			if pool.Current(name) == nil {
				t.Errorf("there is no pool %s", name)
			}
		}
		p[0].Close()
	})
	lbtest.NoLeaks(t)
}

const emptyWarning = "the pool has no backends; add them at run time, or write `to`, `backend` or `from`"

// An empty pool that nothing fills may be a mistake.
func TestWarnsOfEmptyPools(t *testing.T) {
	for name, tt := range map[string]struct {
		ballast, pool string
		warns         bool
	}{
		"of its own":        {`{}`, `"health":[{"check":"tcp"}]`, true},
		"with a name":       {`{}`, `"name":"web","health":[{"check":"tcp"}]`, true},
		"persist":           {`{"persist":true}`, `"name":"web","health":[{"check":"tcp"}]`, false},
		"with a source":     {`{}`, `"name":"web","sources":[{"source":"fake","world":"TestWarnsOfEmptyPools/with_a_source"}]`, false},
		"of the global one": {`{"pools":{"web":{}}}`, `"name":"web"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			newWorld(t)
			p := load(t, caddy.ModuleMap{"ballast": json.RawMessage(tt.ballast)}, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool",`+tt.pool+`}}`)
			if got := p.Logged(); slices.Contains(got, emptyWarning) != tt.warns {
				t.Errorf("logged %q", got)
			}
			p.Close()
		})
	}
}

// A source of a third party that goes by the request finds nothing for a pool, which
// asks without one. It is told of once.
func TestWarnsOfSourcesThatFindNothing(t *testing.T) {
	const warning = "discovery found no backends; a source that depends on the request must be reverse_proxy's own `dynamic`, since a pool queries its sources without a request"
	for _, first := range [][]string{nil, {"a:1"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.found = first
			p := load(t, nil, proxy("wrr", `"name":"web",`+from(t, `,"refresh":"1s"`)))
			seconds(3.5)
			w.set(func() { w.found = []string{"a:1"} })
			seconds(2)
			expectServed(t, p, "a:1")
			w.set(func() { w.found = nil })
			seconds(2)
			want := 0
			if first == nil {
				want = 1
			}
			count := 0
			for _, line := range p.Logged() {
				if line == warning {
					count++
				}
			}
			if count != want {
				t.Errorf("first %v: told %d times, want %d: %q", first, count, want, p.Logged())
			}
		})
	}
	lbtest.NoLeaks(t)
}
