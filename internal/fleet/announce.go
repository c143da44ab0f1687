// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "go.uber.org/zap"

// The events of a fleet.
const (
	joinedEvent        = "fleet_joined"
	leftEvent          = "fleet_left"
	storeLostEvent     = "fleet_store_lost"
	storeReturnedEvent = "fleet_store_returned"
)

// maxAnnounced is the number of instances that joined or left in one change up to which each is announced.
const maxAnnounced = 10

func (f *Fleet) emit(event string, data map[string]any) {
	if u := f.user(); u.Emit != nil {
		u.Emit(event, data)
	}
}

// announceInstances announces the other instances that have joined or left. It does not announce
// those that lived before this one joined.
func (f *Fleet) announceInstances(before, after *Instances) {
	if before.Generation == 0 || before.Generation == after.Generation {
		return
	}
	joined, left := missing(after.All, before.All), missing(before.All, after.All)
	if len(joined)+len(left) > maxAnnounced {
		f.log().Info("instances have joined or left the fleet",
			zap.Int("joined", len(joined)), zap.Int("left", len(left)), zap.Int("instances", len(after.All)))
		return
	}
	for _, i := range joined {
		f.log().Info("an instance has joined the fleet", zap.String("instance", i.ID), zap.String("zone", i.Zone), zap.Int("instances", len(after.All)))
		f.emit(joinedEvent, map[string]any{"instance": i.ID, "zone": i.Zone, "instances": len(after.All)})
	}
	for _, i := range left {
		f.log().Info("an instance has left the fleet", zap.String("instance", i.ID), zap.String("zone", i.Zone), zap.Int("instances", len(after.All)))
		f.emit(leftEvent, map[string]any{"instance": i.ID, "zone": i.Zone, "instances": len(after.All)})
	}
}

// missing returns the instances of all that are not in others. Both must be sorted by id.
func missing(all, others []Instance) (only []Instance) {
	for _, i := range all {
		for len(others) > 0 && others[0].ID < i.ID {
			others = others[1:]
		}
		if len(others) == 0 || others[0].ID != i.ID {
			only = append(only, i)
		}
	}
	return only
}

// announceLost announces that the store does not work.
func (f *Fleet) announceLost(err error) {
	f.log().Warn("the store of the fleet does not work; the instance goes on with what it knows", zap.Error(err))
	f.emit(storeLostEvent, map[string]any{"reason": err.Error()})
}

// announceReturned announces that the store works again.
func (f *Fleet) announceReturned() {
	f.log().Info("the store of the fleet works again")
	f.emit(storeReturnedEvent, map[string]any{})
}
