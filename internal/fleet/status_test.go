// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
)

// After a join or leave has reached the other instances, the status of each shows that all have
// applied the generation.
func TestAcknowledgedInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 3)
		settled := func() bool {
			for _, i := range all {
				s := i.Status()
				for _, one := range s.Instances {
					if one.Acknowledged != s.Generation {
						return false
					}
				}
				if len(s.Instances) != len(all) {
					return false
				}
			}
			return true
		}
		within(t, 3*heartbeat, "three instances with the generation", settled)
		all[2].stop()
		all = all[:2]
		within(t, 3*heartbeat, "two instances with the generation", settled)

		// An instance does not acknowledge a generation that it has not applied.
		late := start(t, m, "late")
		all = append(all, late)
		within(t, 3*heartbeat, "late instance", func() bool { return late.Instances().Len() == 3 })
		s := late.Status()
		for _, one := range s.Instances {
			if acknowledged := one.Acknowledged == s.Generation; acknowledged != (one.ID == s.ID) {
				t.Errorf("at the start: %+v with generation %d", one, s.Generation)
			}
		}
		within(t, 3*heartbeat, "three instances again", settled)
	})
}
