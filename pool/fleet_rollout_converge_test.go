// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// Whatever is done with a rollout on several instances, while they reload with other plans, have reloads
// rejected, restart and lose the store, which loses its records: once all have the same plan and the store, they
// have the rollout in the same state.
func TestRolloutsOfAFleetConverge(t *testing.T) {
	plans := []string{canaries(`"steps":[0.1,0.5],"every":"1h"`), canaries(`"steps":[0.2,0.5],"every":"1h"`)}
	first := rand.Uint64N(1 << 32)
	for seed := first; seed < first+6; seed++ {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			m := fleettest.NewMemory()
			all := nodes(t, m, 3, plans[0])
			var log []string
			for range 30 {
				n := all[random.IntN(len(all))]
				note := func(format string, args ...any) { log = append(log, n.name+" "+fmt.Sprintf(format, args...)) }
				switch random.IntN(9) {
				case 0, 1, 2, 3:
					a := rollout.Actions()[random.IntN(4)]
					err := n.manager().Rollout("canary", a, "")
					note("%s: %v", a, err)
				case 4:
					plan := random.IntN(len(plans))
					note("reloads plan %d", plan)
					n.start(plans[plan])
				case 5:
					plan := random.IntN(len(plans))
					note("rejects plan %d", plan)
					running := n.Proxy
					n.Proxy = nil
					n.start(plans[plan])
					time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
					synctest.Wait()
					n.end()
					n.Proxy = running
				case 6:
					note("cut off")
					n.link.Fail(errors.New("cut off"))
				case 7:
					note("back")
					n.link.Fail(nil)
				case 8:
					note("restart")
					n.end()
					plan := random.IntN(len(plans))
					n.start(plans[plan])
				}
				time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
				synctest.Wait()
			}
			plan := plans[random.IntN(len(plans))]
			for _, n := range all {
				n.link.Fail(nil)
				n.start(plan)
			}
			seconds(40)
			states := make(map[string]bool)
			for _, s := range rollouts(all) {
				states[s] = true
			}
			if len(states) != 1 {
				t.Errorf("seed %d: %q after\n%s", seed, rollouts(all), strings.Join(log, "\n"))
			}
			for _, n := range all {
				n.end()
			}
		})
	}
	lbtest.NoLeaks(t)
}

// An action ends with its rollout: the next one with the same plan begins at its first step, on instances that have
// run all the time, and on those that start anew. While one instance has the rollout, it is kept.
func TestActionEndsWithItsRollout(t *testing.T) {
	const steps = `"steps":[0.1,0.5],"every":"1000h"`
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			all := nodes(t, fleettest.NewMemory(), 3, canaries(steps))
			all[0].act(rollout.Promote)
			configure := func(pool string, some ...*node) {
				for _, n := range some {
					if restart {
						n.end()
					}
					n.start(pool)
				}
				seconds(90)
			}
			configure(dials("a:1", "b:1"), all[1:]...)
			seconds(600)
			configure(canaries(steps), all[1:]...)
			expectRollouts(t, all, "promoted at 1")
			configure(dials("a:1", "b:1"), all...)
			configure(canaries(steps), all...)
			expectRollouts(t, all, "running at 0.1")
			all[2].act(rollout.Abort)
			seconds(1)
			expectRollouts(t, all, "aborted at 0 an operator has aborted it")
			for _, n := range all {
				n.end()
			}
		})
	}
	lbtest.NoLeaks(t)
}
