// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// canaries is a pool with a group of one backend.
func canaries(group string) string {
	return dials("a:1", "b:1") + `,"groups":[{"name":"canary",` + dials("c:1") + "," + group + `}]`
}

func (n *node) act(a rollout.Action) {
	n.t.Helper()
	if err := n.manager().Rollout("canary", a, "ann"); err != nil {
		n.t.Fatalf("%s on %s: %v", a, n.name, err)
	}
}

// rollouts returns the state of the rollout on each instance.
func rollouts(all []*node) (states []string) {
	for _, n := range all {
		o := n.pool().Groups().Find("canary").Rollout.Report(clock.Now())
		states = append(states, fmt.Sprintf("%s at %v %s", o.State, o.Share, o.Reason))
	}
	return states
}

func expectRollouts(t *testing.T, all []*node, want string) {
	t.Helper()
	for i, got := range rollouts(all) {
		if strings.TrimSpace(got) != want {
			t.Errorf("the rollout on %s is %q, want %q", all[i].name, got, want)
		}
	}
}

// What an operator does with a rollout on one instance holds on all, on one that starts or reloads later,
// too, unless its configuration has another plan.
func TestActionsOnRolloutsOfAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const steps = `"steps":[0.1,0.5],"every":"1h"`
		all := nodes(t, fleettest.NewMemory(), 3, canaries(steps))
		a, b, c := all[0], all[1], all[2]
		events := rolloutEvents(t, b.Proxy)
		expectRollouts(t, all, "running at 0.1")
		a.act(rollout.Pause)
		seconds(1)
		expectRollouts(t, all, "paused at 0.1")
		b.act(rollout.Resume)
		seconds(1)
		expectRollouts(t, all, "running at 0.1")
		c.act(rollout.Abort)
		seconds(1)
		const aborted = "aborted at 0 an operator has aborted it"
		expectRollouts(t, all, aborted)
		if got, want := events(), []string{"  0 rollout_paused canary 10% ", "  1 rollout_resumed canary 10% ", "  2 rollout_aborted canary 0% an operator has aborted it"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}

		a.start(canaries(steps)) // a reload
		b.end()                  // a restart without persist
		seconds(5)
		b.start(canaries(steps))
		seconds(5)
		expectRollouts(t, all, aborted)

		// While a configuration with other steps is rolled out, the actions on each are its own.
		a.start(canaries(`"steps":[0.2,0.5],"every":"1h"`))
		seconds(2)
		expectRollouts(t, all[:1], "running at 0.2")
		expectRollouts(t, all[1:], aborted)
		a.act(rollout.Promote)
		seconds(2)
		expectRollouts(t, all[:1], "promoted at 1")
		expectRollouts(t, all[1:], aborted)
		b.start(canaries(`"steps":[0.2,0.5],"every":"1h"`))
		c.start(canaries(`"steps":[0.2,0.5],"every":"1h"`))
		seconds(2)
		expectRollouts(t, all, "promoted at 1")

		// Without the store each instance goes on, and the latest action wins when it is back.
		a.link.Fail(errors.New("cut off"))
		a.act(rollout.Abort)
		seconds(1)
		b.act(rollout.Abort)
		b.act(rollout.Resume)
		seconds(1)
		expectRollouts(t, all[1:], "running at 0.2")
		a.link.Fail(nil)
		seconds(20)
		expectRollouts(t, all, "running at 0.2")
		for _, n := range all {
			n.end()
		}
	})
	lbtest.NoLeaks(t)
}

// A canary that fails on one instance, which gets all the requests, is aborted on all of them.
func TestVerdictOnRolloutOfAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		var all []*node
		for _, name := range []string{"a", "b"} {
			n := newNode(t, m, name, lbtest.Backends{"a:1": every(0, time.Millisecond), "b:1": every(0, time.Millisecond), "c:1": every(2, time.Millisecond)})
			n.start(canaries(`"share":0.1,"abort":{"errors":0.01,"after":50}`))
			all = append(all, n)
		}
		seconds(5)
		if statuses, _ := steadily(all[0].Proxy, 20); statuses[http.StatusInternalServerError] == 0 {
			t.Fatalf("statuses %v", statuses)
		}
		seconds(2)
		states := rollouts(all)
		if states[0] != states[1] || !strings.HasPrefix(states[0], "aborted at 0 errors: ") {
			t.Errorf("the rollouts are %q", states)
		}
		for _, n := range all {
			n.end()
		}
	})
	lbtest.NoLeaks(t)
}
