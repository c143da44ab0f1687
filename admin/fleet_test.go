// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

func init() { caddy.RegisterModule(new(fleettest.Guest)) }

// The fleet is shown with its store, its instances and the shares, and there is none without
// configuration.
func TestFleet(t *testing.T) {
	if _, stderr, err := run("fleet", "--address", serve(t)); err == nil || !strings.Contains(stderr, "this instance is in no fleet; write `fleet") {
		t.Errorf("without a fleet: %v, %s", err, stderr)
	}
	p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"fleet":{"id":"lb1","heartbeat":"100ms","store":{"module":"fleettest","name":"admin"}}}`)},
		`{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"shop",`+
			`"backends":[{"dial":"a:1","id":"a"},{"dial":"b:1","id":"b","max_requests":3}],"max_requests":40,"max_requests_fleet":true}}`, lbtest.Backends{})
	if err != nil {
		t.Fatal(err)
	}
	a := new(API)
	if err := a.Provision(p.Context()); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = a.serve(w, r) }))
	defer s.Close()
	address := s.Listener.Addr().String()
	client, err := NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	var f Fleet
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		if f, err = client.Fleet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.Store.Connected && f.Synced && f.Settled && len(f.Instances) == 1 && len(f.Instances[0].Pools) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", f)
		}
	}
	one := f.Instances[0]
	if f.Name != "lb1" || f.Heartbeat != 0.1 || f.Alone || one.ID != f.ID || !one.Self || one.Pools[0] != (FleetHint{Pool: "shop", Members: 2}) || len(f.Isolated) != 0 {
		t.Errorf("%+v", f)
	}
	if len(f.Shares) != 1 || f.Shares[0].Pool != "shop" || f.Shares[0].Backend != "a" || f.Shares[0].Limit != 40 || f.Shares[0].Share != 40 {
		t.Errorf("shares %+v", f.Shares)
	}
	for args, want := range map[string][]string{
		"fleet":                   {f.ID + ": the store is connected", "INSTANCE", "this instance", "shop 0/2", "shop a", "40"},
		"fleet --json":            {`"heartbeat_seconds": 0.1`, `"share": 40`},
		"show shop":               {"0/40 of 40", "0/3"},
		"show shop --json":        {`"fleet_limit": {`, `"max_requests_fleet": true`},
		"drain shop a --wait 20s": {"a is draining", "it is safe to remove"},
	} {
		stdout, stderr, err := run(append(strings.Fields(args), "--address", address)...)
		for _, text := range want {
			if err != nil || !strings.Contains(stdout, text) {
				t.Errorf("%s: %v, %s%s, want %q", args, err, stdout, stderr, text)
			}
		}
	}
	memory := fleettest.Named("admin")
	memory.Fail(errors.New("gone"))
	defer memory.Fail(nil)
	for deadline := time.Now().Add(20 * time.Second); f.Store.Connected; <-time.After(10 * time.Millisecond) {
		if f, err = client.Fleet(t.Context()); err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %+v", err, f)
		}
	}
	if stdout, _, _ := run("fleet", "--address", address); !strings.Contains(stdout, "the store is lost: ") {
		t.Error(stdout)
	}
}

// A draining backend of a fleet is safe to remove when all instances say so.
func TestWhatIsLeftOfAFleet(t *testing.T) {
	for want, f := range map[string]*membership.FleetDrain{
		"it is safe to remove":                {Safe: true, Instances: 2, Waiting: []string{}},
		"waiting for 1 instance of 3: lb2":    {Instances: 3, Waiting: []string{"lb2"}},
		"waiting for 2 instances of 3: b, c":  {Instances: 3, Waiting: []string{"b", "c"}},
		"waiting for the store of the fleet,": {Instances: 1, Waiting: []string{}},
	} {
		b := Backend{Drain: &Drain{Safe: true, Fleet: f}}
		if got := left(b); !strings.Contains(got, want) || safe(b.Drain) != f.Safe {
			t.Errorf("%s, want %s", got, want)
		}
	}
	p := new(progress)
	now := time.Now()
	if !p.due(&Drain{Fleet: &membership.FleetDrain{Waiting: []string{"b"}}}, now) || p.due(&Drain{Fleet: &membership.FleetDrain{Waiting: []string{"c"}}}, now) ||
		!p.due(&Drain{Fleet: &membership.FleetDrain{}}, now) {
		t.Error("the number of instances that are waited for is not what makes a line due")
	}
}
