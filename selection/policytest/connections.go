// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/conformance"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Connections tests a policy in pools with connections that carry no HTTP. It must meet the same
// requirements as with requests. caddyfile is as in [Policy]; a key must be client_ip, or a text
// with placeholders of connections. A policy that needs requests must return an error from
// CheckConnections, and is not tested further.
func Connections(t *testing.T, caddyfile string) {
	c := connecting{conformance.Module{Namespace: namespace, Caddyfile: caddyfile}}
	mod, _ := c.Load(t, caddyfile)
	policy, ok := mod.(connections.ConnectionPolicy)
	if !ok {
		t.Fatalf("%T is no policy for connections; embed selection.Adapter", mod)
	}
	if err := policy.CheckConnections(); err != nil {
		if _, refused := connections.NewChooser(mod.(caddy.Module), c.pool(0, 1)); refused == nil {
			t.Errorf("the policy is used for connections, although CheckConnections returned: %v", err)
		}
		return
	}
	t.Run("all equal backends serve", func(t *testing.T) { c.only(t, c.pool(0, 1, 1, 1, 1), "u0", "u1", "u2", "u3") })
	t.Run("weight 0 gets no connection", func(t *testing.T) { c.only(t, c.pool(0, 0, 3, 0, 1), "u1", "u3") })
	t.Run("a retry uses another backend", c.retry)
	t.Run("limits are respected", c.limits)
	t.Run("concurrent use", c.concurrent)
}

// connecting is a policy that chooses backends of connections.
type connecting struct{ conformance.Module }

// pool returns a pool of backends with these weights: u0, u1, ... limit is that of each, 0 for none.
func (connecting) pool(limit int, weights ...int) *pool.Pool {
	p := pool.NewPool("policytest")
	var all []*backend.Backend
	for i, w := range weights {
		name := fmt.Sprint("u", i)
		settings := backend.Settings{ID: name, Weight: &w, MaxRequests: &limit}
		all = append(all, backend.New(p.Name, backend.Endpoint{Address: name + ":1", Settings: settings}, backend.NewState(), nil, nil))
	}
	p.SetMembers(pool.NewMembers(all))
	return p
}

// chooser returns a new policy for a pool.
func (c connecting) chooser(t *testing.T, p *pool.Pool) *connections.Chooser {
	t.Helper()
	mod, _ := c.Load(t, c.Caddyfile)
	chooser, err := connections.NewChooser(mod.(caddy.Module), p)
	if err != nil {
		t.Fatal(err)
	}
	return chooser
}

// connect opens connection number n, which lasts until end is called. The backend with the id
// failing refuses it.
func connect(c *connections.Chooser, n int, failing string) (id string, end func(), reason pool.Reason) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := connections.Request(ctx, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&0xff, n&0xff), caddy.NewReplacer())
	for {
		chosen, reason := c.Choose(r)
		if reason != "" {
			return "", nil, reason
		}
		b, a := chosen.Backend, &backend.Attempt{Start: clock.Now(), Slot: true, Affinity: chosen.Affinity}
		b.Begin(a)
		if b.ID == failing && chosen.Try < 4 {
			b.End(a, clock.Now(), syscall.ECONNREFUSED, false)
			continue
		}
		a.Status, a.FirstByte = 101, time.Millisecond
		b.Answer(a)
		return b.ID, func() { b.End(a, clock.Now(), nil, false) }, ""
	}
}

// only tests that exactly the given backends get connections. A random policy gives one of four
// equal backends none of 400 connections once in 10^49 runs.
func (c connecting) only(t *testing.T, p *pool.Pool, ids ...string) {
	chooser, served := c.chooser(t, p), make(map[string]int)
	for n := range 400 {
		id, end, reason := connect(chooser, n, "")
		if reason != "" {
			t.Fatalf("connection %d has no backend: %s", n, reason)
		}
		served[id]++
		end()
	}
	for _, id := range ids {
		if served[id] == 0 {
			t.Errorf("connections went to %v, want some to %s", served, id)
		}
	}
	if len(served) > len(ids) {
		t.Errorf("connections went to %v, want only %v", served, ids)
	}
	idle(t, p)
}

// retry tests that a connection that one backend refuses goes to the other.
func (c connecting) retry(t *testing.T) {
	p := c.pool(0, 1, 1)
	chooser := c.chooser(t, p)
	for n := range 100 {
		id, end, reason := connect(chooser, n, "u0")
		if reason != "" || id != "u1" {
			t.Fatalf("connection %d went to %q, reason %q; want u1, since u0 refuses", n, id, reason)
		}
		end()
	}
	idle(t, p)
}

// limits tests that three backends with a limit of two connections get exactly six, from any
// clients, and six again after these have ended.
func (c connecting) limits(t *testing.T) {
	p := c.pool(2, 1, 1, 1)
	chooser := c.chooser(t, p)
	for range 3 {
		var ends []func()
		for n := range 6 {
			_, end, reason := connect(chooser, n, "")
			if reason != "" {
				t.Fatalf("one of 6 connections within the limits has no backend: %s", reason)
			}
			ends = append(ends, end)
		}
		for n := range 10 {
			if id, _, reason := connect(chooser, 100+n, ""); reason != pool.ReasonFull {
				t.Errorf("while all backends are full, a connection went to %q, reason %q", id, reason)
			}
		}
		for _, end := range ends {
			end()
		}
		idle(t, p)
	}
}

// concurrent opens many connections concurrently.
func (c connecting) concurrent(t *testing.T) {
	p := c.pool(0, 1, 1, 1, 1, 1)
	chooser := c.chooser(t, p)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 40 {
				_, end, reason := connect(chooser, 40*g+n, "")
				if reason != "" {
					t.Error(reason)
					return
				}
				end()
			}
		})
	}
	wg.Wait()
	idle(t, p)
}

// idle tests that no connection is counted after all have ended.
func idle(t *testing.T, p *pool.Pool) {
	t.Helper()
	for _, b := range p.View().Members.All {
		if b.InFlight() != 0 || b.Taken() != 0 {
			t.Errorf("after the end of all connections, %s has %d in flight and %d slots taken", b.ID, b.InFlight(), b.Taken())
		}
	}
}
