// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Instances act in turn, and hear of some of each other's actions, the latest last. Then all are in the
// state of the one that acted last, wherever they were, and to hear of it again changes nothing.
func TestFollow(t *testing.T) {
	type heard struct {
		action         Action
		version, begun uint64
	}
	plan := &Plan{Shares: []float64{0.1, 0.5, 1}, Every: time.Minute}
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		all := []*Rollout{New(plan, new(Counts), nil, 0), New(plan, new(Counts), nil, 0), New(plan, new(Counts), nil, 0)}
		now, last, latest := time.Duration(0), heard{}, all[0]
		for version := range uint64(20) {
			now += time.Second
			by := all[random.IntN(len(all))]
			if random.IntN(4) > 0 { // as an operator sees what there is, unless the instance is cut off
				by.Follow(last.action, "", last.version, last.begun, now)
			}
			a, aborted := Actions()[random.IntN(len(Actions()))], !by.Open()
			if changed, _ := by.Act(a, "", now); !changed {
				continue
			}
			by.SetActed(version+1, a == Resume && aborted)
			last, latest = heard{a, version + 1, by.Begun()}, by
			if other := all[random.IntN(len(all))]; random.IntN(2) == 0 {
				other.Follow(last.action, "", last.version, last.begun, now)
			}
		}
		for i, o := range all {
			o.Follow(last.action, "", last.version, last.begun, now)
			if o.Report(now).State != latest.Report(now).State {
				t.Errorf("seed %d: instance %d is %s, and %s after %s where that was done", seed, i, o.Report(now).State, latest.Report(now).State, last.action)
			}
			again := New(plan, new(Counts), ptr(o.Record()), now)
			if again.Follow(last.action, "", last.version, last.begun, now) {
				t.Errorf("seed %d: a restart applies %s again", seed, last.action)
			}
		}
	}
}
