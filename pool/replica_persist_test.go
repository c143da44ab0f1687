// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// What an instance has changed while the store of the fleet did not work outlives its restarts as what it is, a later
// change than those that the fleet has: a renewed registration which has ended on the other instance, and what an operator
// has set or taken back.
func TestFleetRestartsWithoutItsStore(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a := newNode(t, m, "a", answering("a:1", "b:1", "c:1"))
		a.persist = true
		b := newNode(t, m, "b", a.backends)
		pool := dials("a:1", "b:1")
		a.start(pool)
		b.start(pool)
		seconds(5)
		registration := membership.Addition{Address: "c:1", TTL: 30 * time.Second, Registered: true}
		a.add(registration)
		a.alter("a:1", admin(health.Maint))
		b.alter("b:1", admin(health.Drain))
		soon()
		b.alter("b:1", admin(health.Ready))
		soon()
		m.Fail(errors.New("away"))
		seconds(20)
		a.add(registration)
		a.alter("a:1", admin(health.Ready))
		a.alter("b:1", admin(health.Maint))
		seconds(12)
		if b.find("c:1") != nil {
			t.Fatal("the other instance has had no renewal, and still has the registration")
		}
		for range 2 {
			a.end()
			a.start(pool)
			seconds(1)
		}
		m.Fail(nil)
		seconds(10)
		sameState(t, []*node{a, b})
		if b.find("c:1") == nil || b.find("a:1").AdminState() != health.Ready || b.find("b:1").AdminState() != health.Maint {
			t.Errorf("the other instance has\n%s", b.state())
		}
		seconds(30)
		if a.find("c:1") != nil || b.find("c:1") != nil {
			t.Errorf("the registration has not ended: a has\n%s\nand b\n%s", a.state(), b.state())
		}
		a.alter("b:1", admin(health.Ready)) // later than what was resumed
		soon()
		sameState(t, []*node{a, b})
		a.end()
		b.end()
	})
	lbtest.NoLeaks(t)
}

// So does what was done with a rollout.
func TestFleetRestartsWithoutItsStoreInARollout(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a := newNode(t, m, "a", answering("a:1", "b:1", "c:1"))
		a.persist = true
		b := newNode(t, m, "b", a.backends)
		all, pool := []*node{a, b}, canaries(`"steps":[0.1,0.5],"every":"1h"`)
		a.start(pool)
		b.start(pool)
		seconds(5)
		a.act(rollout.Pause)
		seconds(1)
		expectRollouts(t, all, "paused at 0.1")
		m.Fail(errors.New("away"))
		seconds(5)
		a.act(rollout.Promote)
		a.end()
		a.start(pool)
		seconds(1)
		m.Fail(nil)
		seconds(10)
		expectRollouts(t, all, "promoted at 1")
		a.end()
		b.end()
	})
	lbtest.NoLeaks(t)
}
