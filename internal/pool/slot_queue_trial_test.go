// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// A request that waits while a half-open backend has its trial gets a slot of that backend as
// soon as the trial succeeds, although the trial still streams, and gets the trial itself as soon
// as the request that had it is not sent.
func TestSlotQueueAfterTrial(t *testing.T) {
	for name, after := range map[string]func(backend.Permit){
		"the trial succeeds": func(c backend.Permit) {
			a := &backend.Attempt{Start: clock.Now(), Slot: true}
			c.Backend.Begin(a)
			a.Status = 200
			c.Backend.Answer(a)
		},
		"the trial is not sent": backend.Permit.Release,
	} {
		synctest.Test(t, func(t *testing.T) {
			p, all := poolOf(2, Options{Outliers: someRules, Queue: QueueRules{Size: 1, Timeout: time.Hour}})
			two := 2
			for _, b := range all {
				b.SetMaxRequests(&two)
			}
			ejected, other := all[0], all[1]
			ejected.Eject(clock.Now(), someRules, "bad", false)
			time.Sleep(someRules.EjectFor)
			ejected.Expire(clock.Now())
			p.Publish()
			for other.Take() && other.Taken() < two {
			}
			trial, _ := p.Acquire(t.Context(), AcquireOptions{Only: ejected})
			if trial.Backend != ejected || !trial.Slot {
				t.Fatalf("%s: the trial is not to be had", name)
			}
			var got backend.Permit
			go func() { got, _ = p.Acquire(context.Background(), AcquireOptions{}) }()
			synctest.Wait()
			if got.Backend != nil || p.Totals().Waiting != 1 {
				t.Fatalf("%s: the request does not wait", name)
			}
			after(trial)
			synctest.Wait()
			if got.Backend != ejected {
				t.Errorf("%s: the request still waits", name)
			}
			for range two { // ends the wait
				backend.Permit{Backend: other, Slot: true}.Release()
			}
		})
	}
}
