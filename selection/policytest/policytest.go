// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package policytest is the conformance suite of selection policies that embed selection.Adapter,
// in pools and on lists of upstreams. The policies of Ballast pass it. A test that runs it imports
// Ballast, for its pools:
//
//	import _ "github.com/ballast-lb/caddy-ballast"
//
//	func TestConformance(t *testing.T) {
//		policytest.Run(t, policytest.Policy{Caddyfile: "nearest eu-west-1"})
//	}
package policytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
)

// Policy is a policy under test. Its module must be registered.
type Policy struct {
	// Caddyfile is the text after `lb_policy`: the name of the policy, its arguments, and a block
	// with all of its own options. A policy with a key uses the header X-Key, which differs between
	// requests. Required.
	Caddyfile string
	// Connections is the text after `lb_policy` in balance of caddy-l4, for [Connections]. Default:
	// Caddyfile.
	Connections string
}

const namespace = "http.reverse_proxy.selection_policies"

// timeout is the time after which a request is taken to hang.
const timeout = 10 * time.Second

// Run tests the configuration of the policy, that it chooses usable backends only, and each of
// them, that it respects limits, also with concurrent requests, that lists may change, that a pick
// from a list does not allocate, and the same for connections without HTTP. Run it with the race
// detector.
func Run(t *testing.T, p Policy) {
	m := conformance.Module{Namespace: namespace, Caddyfile: p.Caddyfile}
	m.Run(t)
	if _, err := caddy.GetModule("http.reverse_proxy.upstreams.pool"); err != nil {
		t.Fatal(`there are no pools; import _ "github.com/ballast-lb/caddy-ballast"`)
	}
	policy := make(map[string]any)
	if err := json.Unmarshal(m.JSON(t, p.Caddyfile), &policy); err != nil {
		t.Fatal(err)
	}
	policy["policy"] = m.Name()
	t.Run("weights", func(t *testing.T) { weights(t, m) })
	for name, list := range map[string]func(int, string) string{"pool": poolOf, "list": listOf} {
		t.Run(name, func(t *testing.T) {
			t.Run("all equal backends serve", func(t *testing.T) { equal(t, policy, list) })
			t.Run("a retry uses another backend", func(t *testing.T) { retry(t, policy, list) })
			t.Run("concurrent use", func(t *testing.T) { concurrent(t, policy, list) })
		})
	}
	t.Run("weight 0 in a pool gets no request", func(t *testing.T) { poolWeights(t, policy) })
	t.Run("weight 0 in a list gets no request", func(t *testing.T) { listWeights(t, policy) })
	t.Run("limits are respected", func(t *testing.T) { limits(t, policy) })
	t.Run("a list that changes", func(t *testing.T) { changes(t, policy) })
	t.Run("allocations", func(t *testing.T) { allocations(t, m) })
	t.Run("connections", func(t *testing.T) { Connections(t, cmp.Or(p.Connections, p.Caddyfile)) })
}

// poolOf returns the configuration of a pool of n backends with the given option.
func poolOf(n int, option string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"dial":"u%d:1"%s}`, i, option))
	}
	return `{"dynamic_upstreams":{"source":"pool","backends":[` + strings.Join(all, ",") + `]}}`
}

// listOf returns the configuration of a list of n upstreams.
func listOf(n int, _ string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"dial":"u%d:1"}`, i))
	}
	return `{"upstreams":[` + strings.Join(all, ",") + `]}`
}

// with returns a policy with an additional field.
func with(policy map[string]any, name string, value any) map[string]any {
	other := map[string]any{name: value}
	for k, v := range policy {
		if k != name {
			other[k] = v
		}
	}
	return other
}

// weights tests the option that every policy has.
func weights(t *testing.T, m conformance.Module) {
	if _, err := m.Parse(t, m.With("", "weights 1 2 0")); err != nil {
		t.Errorf("%v; add your options to those of Options of the embedded selection.Adapter", err)
	}
	for _, bad := range []string{"weights", "weights x", "weights -1", "weights 65536", "weights 1\n weights 1"} {
		m.Refuses(t, m.With("", bad))
	}
}

// equal tests that each of four equal backends gets requests. A random policy gives one of them
// none of 400 requests once in 10^49 runs.
func equal(t *testing.T, policy map[string]any, list func(int, string) string) {
	p := load(t, policy, list(4, ""))
	for n := range 400 {
		if status, _ := p.get(fmt.Sprint(n)); status != http.StatusOK {
			t.Fatalf("request %d has status %d", n, status)
		}
	}
	if len(p.served) != 4 {
		t.Errorf("requests went to %v, want some to each of 4 equal backends", p.served)
	}
}

// retry tests that a request that fails at one backend is served by the other.
func retry(t *testing.T, policy map[string]any, list func(int, string) string) {
	p := load(t, policy, list(2, ""))
	p.failing["u0:1"] = true
	for n := range 100 {
		if status, address := p.get(fmt.Sprint(n)); status != http.StatusOK || address != "u1:1" {
			t.Fatalf("request %d: status %d from %q; want u1:1, since u0:1 fails", n, status, address)
		}
	}
}

// concurrent sends many requests concurrently.
func concurrent(t *testing.T, policy map[string]any, list func(int, string) string) {
	p := load(t, policy, list(5, ""))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 40 {
				if status, _ := p.get(fmt.Sprint(g, n)); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	wg.Wait()
}

// poolWeights tests that backends of weight 0 get no requests.
func poolWeights(t *testing.T, policy map[string]any) {
	p := load(t, policy, `{"dynamic_upstreams":{"source":"pool","backends":[{"dial":"u0:1","weight":0},{"dial":"u1:1","weight":3},{"dial":"u2:1","weight":0},{"dial":"u3:1"}]}}`)
	expectOnly(t, p, "u1:1", "u3:1")
}

// listWeights is poolWeights for a list.
func listWeights(t *testing.T, policy map[string]any) {
	expectOnly(t, load(t, with(policy, "weights", []int{0, 3, 0, 1}), listOf(4, "")), "u1:1", "u3:1")
}

// expectOnly tests that requests go only to the given addresses.
func expectOnly(t *testing.T, p *proxy, addresses ...string) {
	t.Helper()
	for n := range 200 {
		status, address := p.get(fmt.Sprint(n))
		ok := false
		for _, a := range addresses {
			ok = ok || a == address
		}
		if status != http.StatusOK || !ok {
			t.Fatalf("request %d: status %d from %q, want one of %v", n, status, address, addresses)
		}
	}
}

// limits tests that three backends with a limit of two requests get exactly six, with any keys, and
// six again after these have ended.
func limits(t *testing.T, policy map[string]any) {
	p := load(t, policy, poolOf(3, `,"max_requests":2`))
	for range 3 {
		p.mu.Lock()
		p.hold = make(chan struct{})
		hold := p.hold
		p.mu.Unlock()
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() {
				if status, _ := p.get(fmt.Sprint(n)); status != http.StatusOK {
					t.Errorf("status %d for one of 6 requests within the limits", status)
				}
			})
		}
		for n := range 6 {
			select {
			case <-p.arrived:
			case <-time.After(timeout):
				t.Fatalf("only %d of 6 requests within the limits have arrived", n)
			}
		}
		for n := range 10 {
			if status, _ := p.get(fmt.Sprint("more ", n)); status != http.StatusServiceUnavailable {
				t.Errorf("status %d while all backends are full, want 503", status)
			}
		}
		close(hold)
		wg.Wait()
	}
	for address, n := range p.peak {
		if n > 2 {
			t.Errorf("%s had %d requests in flight, more than 2", address, n)
		}
	}
}

// changes sends requests with different upstreams each time.
func changes(t *testing.T, policy map[string]any) {
	p := load(t, policy, fmt.Sprintf(`{"dynamic_upstreams":{"source":"policytest","fixture":%q}}`, t.Name()))
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for n := range 5 {
				if status, _ := p.get(fmt.Sprint(g, n)); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	wg.Wait()
}

// allocations tests that a pick from a list does not allocate.
func allocations(t *testing.T, m conformance.Module) {
	mod, _ := m.Load(t, m.Caddyfile)
	policy := mod.(reverseproxy.Selector)
	r, err := http.NewRequest(http.MethodGet, "http://policytest/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Key", "one")
	for n := 1; n < 6; n++ {
		list := make(reverseproxy.UpstreamPool, n)
		for i := range list {
			list[i] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprint("u", i)}
		}
		if u := policy.Select(list, r, nil); u == nil {
			t.Fatalf("no upstream of %d available ones", n)
		}
		if a := testing.AllocsPerRun(100, func() { policy.Select(list, r, nil) }); a > 0 {
			t.Errorf("%v allocations for a pick from a list of %d", a, n)
		}
	}
	if u := policy.Select(nil, r, nil); u != nil {
		t.Errorf("selected %v from an empty list", u)
	}
}
