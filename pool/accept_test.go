// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// A configuration that Caddy rejects after it has run for a while, since another app does not start, changes
// nothing of what the one before has: a rollout that was aborted, an ejection, and a removal of what a
// source finds.
func TestRejectedAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ill := newWorld(t), true
		w.found = []string{"d:1"}
		found := `"sources":[{"source":"fake","world":"` + t.Name() + `"}]`
		otherWorld := *newWorld(t)
		worlds.Store(t.Name(), w)
		worlds.Store(t.Name()+" other", &otherWorld)
		backends := lbtest.Backends{"a:1": bad(&ill), "b:1": lbtest.Latency(0), "c:1": lbtest.Latency(0), "d:1": lbtest.Latency(0)}
		start := func(group, more string) *lbtest.Proxy {
			config := strings.Replace(canary(`{"policy":"wrr"}`, group), `"groups"`, more+`,"groups"`, 1)
			p, err := lbtest.Load(t, nil, config, backends)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := start(`"share":0.3`, found)
		defer p.Close()
		seconds(1)
		served(t, p, 60)
		web := pool.Current("web")
		if err := web.Manager().Rollout("canary", rollout.Abort, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := web.Manager().Remove("d:1", membership.Removal{}); err != nil {
			t.Fatal(err)
		}
		seconds(1)
		expectServed(t, p, "b:1")

		rejected := start(`"share":0.9`, `"outliers":{"off":true},`+strings.ReplaceAll(found, t.Name(), t.Name()+" other"))
		seconds(2)
		rejected.Close()
		if got := web.Find("a:1").EjectionState(); got != outlier.Ejected {
			t.Errorf("a:1 is %v, want ejected", got)
		}
		if got := web.Groups().Find("canary").Rollout.Record(); got.State != rollout.Aborted || got.Shares != "0.3" {
			t.Errorf("the rollout is %+v, want aborted", got)
		}
		expectServed(t, p, "b:1")
		seconds(11) // the source answers again
		expectServed(t, p, "b:1")
	})
	lbtest.NoLeaks(t)
}

// The same in a fleet, where what other instances have done is applied at once; and the other instance is
// not touched either.
func TestRolloutOfAFleetOutlivesARejectedReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := nodes(t, fleettest.NewMemory(), 2, canaries(`"share":0.1`))
		a := all[0]
		a.act(rollout.Abort)
		seconds(1)
		running := a.Proxy
		a.Proxy = nil
		a.start(canaries(`"share":0.2`))
		synctest.Wait()
		a.end()
		a.Proxy = running
		seconds(3)
		expectRollouts(t, all, "aborted at 0 an operator has aborted it")
		for _, n := range all {
			n.end()
		}
	})
	lbtest.NoLeaks(t)
}

// What an operator does as soon as a reload has returned is done with the plan of the new configuration.
func TestActionRightAfterAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := load(t, nil, canary(`{"policy":"p2c"}`, `"share":0.2`))
		seconds(2)
		p := load(t, nil, canary(`{"policy":"p2c"}`, `"share":0.3`))
		defer p.Close()
		old.Close()
		web := pool.Current("web")
		if err := web.Manager().Rollout("canary", rollout.Abort, ""); err != nil {
			t.Fatal(err)
		}
		seconds(3)
		if got := web.Groups().Find("canary").Rollout.Record(); got.State != rollout.Aborted || got.Shares != "0.3" {
			t.Errorf("the rollout is %+v, want aborted", got)
		}
	})
}
