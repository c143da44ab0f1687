// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(fleettest.Guest)) }

// inFleet returns apps of an instance in a fleet of this test.
func inFleet(t *testing.T, id, more string) caddy.ModuleMap {
	t.Cleanup(func() { fleettest.Forget(t.Name()) })
	return caddy.ModuleMap{"ballast": json.RawMessage(fmt.Sprintf(`{"fleet":{"id":%q,"store":{"module":"fleettest","name":%q}%s}}`, id, t.Name(), more))}
}

func fleetOf(t *testing.T, p *lbtest.Proxy) *fleet.Fleet {
	t.Helper()
	f := fleet.Of(p.Context())
	if f == nil {
		t.Fatal("no fleet")
	}
	return f
}

var plain = proxy("wrr", dials("a:1", "b:1"))

// An instance joins with its configuration, stays over reloads, also rejected ones, and leaves with
// the last.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := load(t, inFleet(t, "a", ""), plain)
		b := load(t, inFleet(t, "b", `,"zone":"east"`), plain)
		seconds(2)
		f := fleetOf(t, a)
		if in := f.Instances(); in.Len() != 2 || !in.Settled() || in.Share(10, 0) != 5 || !strings.HasPrefix(in.All[0].ID, "a-") || in.All[1].Zone != "east" || !strings.Contains(in.All[0].Version, "Caddy") {
			t.Fatalf("%+v", in)
		}
		generation := f.Instances().Generation
		if _, err := lbtest.Load(t, inFleet(t, "a", ""), proxy("wrr", dials("a:1", "a:1")), abc); err == nil {
			t.Error("accepted")
		}
		next := load(t, inFleet(t, "a", ""), plain)
		a.Close()
		seconds(2)
		if again := fleetOf(t, next); again != f || f.Instances().Generation != generation {
			t.Errorf("generation %d after a reload, %d before", f.Instances().Generation, generation)
		}
		expectServed(t, next, "a:1", "b:1")
		if got := metric(t, next, "instances"); got != 2 {
			t.Errorf("%v instances in the metrics", got)
		}
		b.Close()
		seconds(1)
		if in := f.Instances(); in.Len() != 1 || in.Share(10, 0) != 10 {
			t.Errorf("%+v", in)
		}
		m := fleettest.Named(t.Name())
		m.Fail(errors.New("connection refused"))
		seconds(2)
		if got := metric(t, next, "store_up"); got != 0 {
			t.Errorf("the store is up: %v", got)
		}
		m.Fail(nil)
		seconds(2)
		if got := metric(t, next, "store_up"); got != 1 {
			t.Errorf("the store is up: %v", got)
		}
		if got := next.Logged("error", "instance"); len(got) != 3 {
			t.Errorf("logged %q", got)
		}
		next.Close()
	})
	lbtest.NoLeaks(t)
}

func metric(t *testing.T, p *lbtest.Proxy, name string) float64 {
	t.Helper()
	return p.Metric(t, "caddy_ballast_fleet_"+name)
}

// fleetEvents records the events of a fleet.
func fleetEvents(t *testing.T, p *lbtest.Proxy) func() []string {
	return recordEvents(t, p, func(e caddy.Event) string {
		text := e.Name()
		for _, field := range []string{"zone", "reason", "instances"} {
			if value := e.Data[field]; value != nil {
				text += fmt.Sprint(" ", value)
			}
		}
		return text
	}, "fleet_joined", "fleet_left", "fleet_store_lost", "fleet_store_returned")
}

// Changes of the fleet and of its store are events.
func TestFleetEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := load(t, inFleet(t, "a", ""), plain)
		seconds(1)
		events := fleetEvents(t, a)
		b := load(t, inFleet(t, "b", `,"zone":"east"`), plain)
		seconds(1)
		b.Close()
		seconds(1)
		m := fleettest.Named(t.Name())
		m.Fail(errors.New("gone"))
		seconds(3)
		m.Fail(nil)
		seconds(3)
		want := []string{"fleet_joined east 2", "fleet_left east 1", "fleet_store_lost gone", "fleet_store_returned"}
		if got := events(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// With wait, requests wait until the instance has all records, for that time at most, whatever the
// store does; without it, none waits.
func TestFleetWait(t *testing.T) {
	for _, test := range []struct {
		wait        string
		stalls      time.Duration
		least, most time.Duration
	}{
		{"", time.Hour, 0, 0},
		{`,"wait":"3s"`, 0, 0, 50 * time.Millisecond},
		{`,"wait":"3s"`, time.Second, time.Second, 2500 * time.Millisecond},
		{`,"wait":"3s"`, time.Hour, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(fmt.Sprint(test.wait, test.stalls), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fleettest.Named(t.Name())
				m.Stall(test.stalls > 0)
				began := time.Now()
				p := load(t, inFleet(t, "a", test.wait), plain)
				defer p.Close()
				time.AfterFunc(test.stalls, func() { m.Stall(false) })
				if _, err := p.Get(); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(began); waited < test.least || waited > test.most {
					t.Errorf("waited %v, want %v to %v", waited, test.least, test.most)
				}
				before := time.Now()
				m.Stall(true)
				if expectServed(t, p, "a:1", "b:1"); time.Since(before) > 0 {
					t.Errorf("waited %v once it was synced", time.Since(before))
				}
				m.Stall(false)
			})
		})
	}
}
