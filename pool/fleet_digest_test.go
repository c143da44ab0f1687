// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Each instance has the figures of all, which add up to what was sent.
func TestFleetDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := nodes(t, fleettest.NewMemory(), 3, `"backends":[{"dial":"a:1"},{"dial":"b:1"}]`)
		for range 30 {
			for range 10 {
				_, _ = all[0].Get()
			}
			for range 5 {
				_, _ = all[1].Get()
			}
			time.Sleep(time.Second)
		}
		for _, n := range all {
			sum, said := 0.0, 0
			for _, h := range n.manager().Hints() {
				if h.Digest != nil {
					said++
					sum += h.Digest.Requests
				}
			}
			// A value is of 5 s, in which the requests of 4 to 6 seconds begin, on each of two instances.
			if said != 3 || sum < 15*0.8 || sum > 15*1.2 {
				t.Errorf("%s: %d instances say %v requests a second, want 15 of 3", n.name, said, sum)
			}
		}
	})
	lbtest.NoLeaks(t)
}
