// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/selection"
)

func init() {
	caddy.RegisterModule(new(first))
	caddy.RegisterModule(new(broken))
	caddy.RegisterModule(new(notSetUp))
}

// first is a policy of another repository. It picks the first usable backend, with another start
// each time.
type first struct{ selection.Adapter }

func (*first) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.next_usable", New: func() caddy.Module { return new(first) }}
}

func (p *first) Provision(ctx caddy.Context) error { return p.SetUp(ctx, "next_usable", p) }

func (p *first) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return p.Options().Parse(d)
}

func (*first) Prepare(g selection.Group) selection.Picker { return new(firstPicker) }

type firstPicker struct{ next atomic.Uint32 }

func (p *firstPicker) Pick(c selection.Candidates, _ *http.Request) int {
	n := int(p.next.Add(1))
	for i := range c.Len() {
		if k := (n + i) % c.Len(); c.Usable(k) {
			return k
		}
	}
	return -1
}

// broken is a policy with a fault.
type broken struct {
	first
	Fault string `json:"fault"`
}

func (*broken) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.broken", New: func() caddy.Module { return new(broken) }}
}

func (p *broken) Provision(ctx caddy.Context) error { return p.SetUp(ctx, "broken", p) }

func (p *broken) Prepare(selection.Group) selection.Picker {
	switch p.Fault {
	case "panics":
		panic("broken policy")
	case "nil":
		return nil
	}
	return brokenPicker(5)
}

// brokenPicker picks an invalid index.
type brokenPicker int

func (p brokenPicker) Pick(selection.Candidates, *http.Request) int { return int(p) }

// notSetUp is a policy that does not call SetUp.
type notSetUp struct{ selection.Adapter }

func (*notSetUp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.not_set_up", New: func() caddy.Module { return new(notSetUp) }}
}

func poolWith(policy string) string {
	return `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":` + policy + `},"dynamic_upstreams":{"source":"pool","backends":[{"dial":"a:1"},{"dial":"b:1"}]}}`
}

// A fault of a policy of another repository does not affect the service beyond that policy's picks.
func TestBrokenPolicies(t *testing.T) {
	all := lbtest.Backends{"a:1": lbtest.Latency(0), "b:1": lbtest.Latency(0)}
	for _, fault := range []string{"panics", "nil", "picks what is not there"} {
		p := lbtest.NewProxy(t, poolWith(`{"policy":"broken","fault":"`+fault+`"}`), all)
		if _, err := p.Get(); err != nil {
			t.Errorf("a policy that %s: %v", fault, err)
		}
	}
	_, err := lbtest.Load(t, nil, poolWith(`{"policy":"not_set_up"}`), all)
	if err == nil || !strings.Contains(err.Error(), "must call SetUp") {
		t.Errorf("got %v", err)
	}
}
