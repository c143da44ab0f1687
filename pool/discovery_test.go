// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// from returns the options of a pool that discovers.
func from(t *testing.T, more string) string {
	return fmt.Sprintf(`"sources":[{"source":"fake","world":%q}]%s`, t.Name(), more)
}

func TestDiscovery(t *testing.T) {
	for _, policy := range []string{"wrr", "p2c", "round_robin"} { // of Ballast and of Caddy
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.found = []string{"a:1", "b:1", "b:1"}
				p := load(t, nil, proxy(policy, `"name":"web",`+from(t, `,"refresh":"5s",`+check(t, ""))))
				expectServed(t, p, "a:1", "b:1") // from the first request on
				seconds(0.5)
				w.set(func() { w.found = []string{"b:1", "c:1"} })
				seconds(4)
				expectServed(t, p, "a:1", "b:1")
				seconds(1)
				expectServed(t, p, "b:1", "c:1")
				w.set(func() { w.sick["c:1"] = true })
				seconds(1.5)
				expectServed(t, p, "b:1") // what is discovered is probed
				probes := w.probes["a:1"]
				w.set(func() { w.found = nil })
				seconds(5)
				expectNone(t, p, "no_backends")
				if w.probes["a:1"] != probes {
					t.Error("a backend that left is still probed")
				}
			})
		})
	}
	lbtest.NoLeaks(t)
}

// While a source fails its last answer holds; it is said once that it fails and
// once that it works again.
func TestDiscoveryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"a:1"}
		p := load(t, nil, proxy("wrr", `"name":"web",`+from(t, `,"refresh":"1s"`)))
		seconds(0.5)
		w.set(func() { w.failing = true })
		for range 20 {
			seconds(1)
			expectServed(t, p, "a:1")
		}
		w.set(func() { w.failing, w.found = false, []string{"b:1"} })
		seconds(1)
		expectServed(t, p, "b:1")
		want := []string{
			"discovery failed; keeping the last known backends web fake 1 no such host",
			"discovery works again web fake 1 <nil>",
		}
		if got := p.Logged("pool", "source", "backends", "error"); !slices.Equal(got, want) {
			t.Errorf("log %q, want %q", got, want)
		}
	})
}

// Starting waits for the first answer, but not for one that does not come; a
// source that has never answered is asked every second.
func TestFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failing = true
		began := time.Now()
		p := load(t, nil, proxy("wrr", from(t, "")))
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("starting took %v", waited)
		}
		expectNone(t, p, "no_backends")
		w.set(func() { w.failing, w.found = false, []string{"a:1"} })
		seconds(1.5)
		expectServed(t, p, "a:1")
	})
}

// Patience is one for all pools, also for those that are waited for after it
// has ended.
func TestFirstAnswersOfManyPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow = time.Hour
		began := time.Now()
		var configs []string
		for i := range 3 {
			configs = append(configs, proxy("wrr", fmt.Sprintf(`"sources":[{"source":"fake","world":%q,"refresh":"%ds"}]`, t.Name(), i+1)))
		}
		loadAll(t, nil, configs...)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("starting took %v, want 1s", waited)
		}
	})
}

// The last answer outlives a reload: while DNS is down, too, there is no gap.
func TestDiscoveryOutlivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"a:1", "b:1"}
		w.sick["a:1"] = true
		p := load(t, nil, proxy("wrr", from(t, ","+check(t, ""))))
		seconds(0.5)
		w.set(func() { w.failing = true })
		for range 30 {
			p = reload(t, p, proxy("wrr", from(t, ","+check(t, ""))))
			expectServed(t, p, "b:1")
			seconds(1)
		}
		if w.lookups != 4 { // at 0, 10, 20 and 30 s
			t.Errorf("%d lookups in 30.5 s, want 4", w.lookups)
		}
	})
}

// Configured members stay, and are not doubled by what is discovered.
func TestConfiguredAndDiscovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"a:1", "B:1", "bad{address}", "c:1-9"} // names have no case
		p := load(t, nil, proxy("wrr", `"backends":[{"dial":"a:1","weight":3,"id":"b:1"}],"refresh":"1s",`+from(t, "")))
		seconds(3.5)
		if got := served(t, p, 40); got["a:1"] != 30 || got["b:1"] != 10 {
			t.Errorf("served %v, want 30 of a:1 and 10 of b:1", got)
		}
		want := []string{"backend is invalid and ignored bad{address}", "backend is invalid and ignored c:1-9"}
		if got := p.Logged("address"); !slices.Equal(got, want) {
			t.Errorf("log %q, want %q", got, want)
		}
	})
}

// A source's own refresh goes before the pool's.
func TestRefreshOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"a:1"}
		load(t, nil, proxy("wrr", fmt.Sprintf(`"sources":[{"source":"fake","world":%q,"refresh":"2s"}],"refresh":"1m"`, t.Name())))
		seconds(9)
		if w.lookups != 5 {
			t.Errorf("%d lookups in 9 s, want 5", w.lookups)
		}
	})
}
