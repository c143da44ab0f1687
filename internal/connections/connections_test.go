// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package connections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	. "github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)

const policies = "http.reverse_proxy.selection_policies."

// load returns a chooser with a policy in JSON, without its name.
func load(t *testing.T, name, config string, p *pool.Pool) (*Chooser, error) {
	t.Helper()
	var c *Chooser
	_, err := lbtest.LoadConfig(t, nil, nil, func(ctx caddy.Context) error {
		mod, err := ctx.LoadModuleByID(policies+name, json.RawMessage(config))
		if err == nil {
			c, err = NewChooser(mod.(caddy.Module), p)
		}
		return err
	})
	return c, err
}

// minimal is the configuration of a policy for connections.
func minimal(name string) string {
	if slices.Contains(lbtest.Policies(lbtest.ByKey), name) {
		return `{"key":"client_ip"}`
	}
	return `{}`
}

// newPool returns a pool with a backend for each weight: u0, u1, ...
func newPool(limit int, weights ...int) *pool.Pool {
	p := pool.NewPool("test")
	var all []*backend.Backend
	for i, w := range weights {
		name := fmt.Sprint("u", i)
		all = append(all, backend.New(p.Name, backend.Endpoint{
			Address: name, Settings: backend.Settings{ID: name, Weight: &w, MaxRequests: &limit}}, backend.NewState(), nil, nil))
	}
	p.SetMembers(pool.NewMembers(all))
	return p
}

// connect is one connection that lasts until end is called.
func connect(c *Chooser, client string) (id string, end func(), reason pool.Reason) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	chosen, reason := c.Choose(Request(ctx, client, caddy.NewReplacer()))
	if reason != "" {
		return "", nil, reason
	}
	a := &backend.Attempt{Start: clock.Now(), Slot: true, Affinity: chosen.Affinity}
	chosen.Backend.Begin(a)
	a.Status, a.FirstByte = 101, time.Millisecond
	chosen.Backend.Answer(a)
	return chosen.Backend.ID, func() { chosen.Backend.End(a, clock.Now(), nil, false) }, ""
}

// All policies choose for connections by the same code as for requests: with weights 3 and 1, connections
// that stay open go 3 to 1. 400 draws of those that go by chance or by key miss 300 by 5 standard deviations
// of 8.7; the others by one connection or, where they sample, by a few.
func TestPoliciesChooseForConnections(t *testing.T) {
	for _, name := range lbtest.Policies() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := load(t, name, minimal(name), newPool(0, 3, 1))
				if err != nil {
					t.Fatal(err)
				}
				got := make(map[string]int)
				for i := range 400 {
					id, end, reason := connect(c, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
					if reason != "" {
						t.Fatal(reason)
					}
					defer end()
					time.Sleep(time.Millisecond)
					got[id]++
				}
				if math.Abs(float64(got["u0"]-300)) > 44 {
					t.Errorf("got %v of 400 connections, want 300 to 100", got)
				}
			})
		})
	}
}

// A connection tries every backend once before any twice, and its slots are exact.
func TestConnectionsAreRetriedElsewhere(t *testing.T) {
	for _, name := range append(lbtest.Policies(), "sticky") {
		config := minimal(name)
		if name == "sticky" {
			config = `{"client_ip":true}`
		}
		c, err := load(t, name, config, newPool(0, 1, 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		r := Request(context.Background(), "10.0.0.1", caddy.NewReplacer())
		tried := make(map[string]bool)
		for n := range 3 {
			chosen, reason := c.Choose(r)
			if reason != "" || chosen.Try != n+1 || !chosen.Slot {
				t.Fatalf("%s: attempt %d is %d, reason %q", name, n+1, chosen.Try, reason)
			}
			tried[chosen.Backend.ID] = true
			a := &backend.Attempt{Start: clock.Now(), Slot: true}
			chosen.Backend.Begin(a)
			chosen.Backend.End(a, clock.Now(), context.DeadlineExceeded, false)
		}
		if len(tried) != 3 {
			t.Errorf("%s tried %v in three attempts", name, tried)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	for _, name := range lbtest.Policies() {
		p := newPool(2, 1, 1)
		c, err := load(t, name, minimal(name), p)
		if err != nil {
			t.Fatal(err)
		}
		var ends []func()
		for i := range 4 {
			_, end, reason := connect(c, fmt.Sprint("10.0.0.", i))
			if reason != "" {
				t.Fatalf("%s: connection %d of 4: %s", name, i+1, reason)
			}
			ends = append(ends, end)
		}
		if _, _, reason := connect(c, "10.0.0.9"); reason != pool.ReasonFull {
			t.Errorf("%s: the fifth connection: reason %q, want %q", name, reason, pool.ReasonFull)
		}
		for _, end := range ends {
			end()
		}
		for _, b := range p.View().Members.All {
			if b.Taken() != 0 {
				t.Errorf("%s: %d slots are left taken", name, b.Taken())
			}
		}
	}
}

// Connections of a client have one backend, whatever the order and the time.
func TestConnectionsOfAClient(t *testing.T) {
	for _, name := range append(lbtest.Policies(lbtest.ByKey), "sticky") {
		config := minimal(name)
		if name == "sticky" {
			config = `{"client_ip":true}`
		}
		c, err := load(t, name, config, newPool(0, 1, 1, 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		of, backends := make(map[string]string), make(map[string]bool)
		for i := range 120 {
			client := fmt.Sprint("10.0.0.", i%30)
			id, end, reason := connect(c, client)
			if reason != "" {
				t.Fatal(reason)
			}
			defer end()
			if before, ok := of[client]; ok && before != id {
				t.Errorf("%s: %s went to %s, and before to %s", name, client, id, before)
			}
			of[client], backends[id] = id, true
		}
		if len(backends) != 4 {
			t.Errorf("%s: 30 clients went to %v only", name, backends)
		}
	}
}

// What only a request has is refused, with what to write instead.
func TestPoliciesThatNeedRequests(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{"rendezvous", `{"key":"uri"}`, "the key `uri` is part of an HTTP request"},
		{"maglev", `{"key":"header","key_name":"X"}`, "write client_ip, or a text with placeholders such as {l4.tls.server_name}"},
		{"ring_hash", `{"key":"{http.request.host}"}`, "the placeholder {http.request.host} in the key is not one of a connection"},
		{"ring_hash", `{"key":"{l4.tls.server_name} {path}"}`, "the placeholder {path} in the key"},
		{"rendezvous", `{"key":"client_ip","fallback":{"policy":"least_time","by":"body"}}`, "least_time body needs responses"},
		{"least_time", `{"by":"last_byte"}`, "write least_time for the time to connect, or least_time probe"},
		{"sticky", `{}`, "write client_ip in the block of sticky"},
		{"sticky", `{"header":"X-User"}`, "write client_ip in the block of sticky"},
		{"sticky", `{"client_ip":true,"fallback":{"policy":"random"}}`, "the fallback random chooses for HTTP requests only"},
		{"sticky", `{"client_ip":true,"fallback":{"policy":"maglev","key":"path"}}`, "the key `path`"},
		{"round_robin", `{}`, "round_robin chooses for HTTP requests only"},
	} {
		if _, err := load(t, test.name, test.config, newPool(0, 1, 1)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: got %v, want %q", test.name, test.config, err, test.want)
		}
	}
	for name, config := range map[string]string{"rendezvous": `{"key":"{l4.tls.server_name}"}`, "maglev": `{"key":"{env.SITE} {l4.conn.remote_addr}"}`} {
		if _, err := load(t, name, config, newPool(0, 1, 1)); err != nil {
			t.Errorf("%s %s: %v", name, config, err)
		}
	}
}
