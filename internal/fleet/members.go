// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// members derives the instances and the places of this one from beats. It is used by one
// goroutine.
type members struct {
	reached     bool   // a beat has succeeded
	generation  uint64 // applied; 0 for none
	incarnation string
	places      []place
	beaten      time.Time // when the latest beat succeeded
	hold        time.Time // shares do not grow before, since others may be missing
	waits       int       // beats since the generation has changed, while shares wait to grow
}

// lost reports whether the store has lost its records since the beat before.
func (m *members) lost(b Beat) bool {
	return m.incarnation != "" && b.Incarnation != m.incarnation || b.Generation < m.generation
}

// forget makes the next beat return all instances.
func (m *members) forget(b Beat) { m.generation, m.incarnation = 0, b.Incarnation }

// apply applies a beat. It returns the instances if they or the shares have changed, and else
// nil.
func (m *members) apply(before *Instances, self Instance, b Beat, patience time.Duration) *Instances {
	now := time.Now()
	if m.lost(b) || m.reached && m.generation == 0 {
		// The generations begin again, and the others may not have beaten yet.
		m.places = slices.Clone(m.places)
		for i := range m.places {
			m.places[i].generation = 0
		}
		m.hold = now.Add(patience)
	}
	if m.reached && now.Sub(m.beaten) >= patience {
		// If the store was away for the others, too, it takes them for dead until they beat.
		m.hold = now.Add(patience)
	}
	m.beaten = now
	all, places := before.All, m.places
	changed := b.Instances != nil && (b.Generation != m.generation || b.Incarnation != m.incarnation)
	if changed {
		all = byID(b.Instances)
		if _, ok := indexOf(all, self.ID); !ok { // a store that is late
			all = byID(append(slices.Clip(all), self))
		}
		if len(places) == 0 {
			places = []place{joining}
		}
		rank, _ := indexOf(all, self.ID)
		places = enter(places, place{live: len(all), rank: rank, generation: b.Generation, seen: now})
		m.waits = 0
	}
	m.reached, m.generation, m.incarnation = true, b.Generation, b.Incarnation
	if !now.Before(m.hold) {
		acknowledged := b.Acknowledged
		if len(all) == 1 {
			acknowledged = b.Generation // this one is all
		}
		places = settle(places, acknowledged, now, patience)
	}
	changed = changed || len(places) != len(m.places)
	m.places = places
	if !changed {
		return nil
	}
	rank, _ := indexOf(all, self.ID)
	return &Instances{Generation: b.Generation, All: all, Self: rank, places: places}
}

// wait returns the time to the next beat. After a change a few more beats tell the others that
// this one has applied it, and this one that the others have. They come the slower the more
// instances there are, so that the store does not get many times more of them.
func (m *members) wait(heartbeat time.Duration, live int, changed bool) time.Duration {
	if !changed && len(m.places) == 1 || time.Now().Before(m.hold) && !changed {
		return heartbeat - rand.N(heartbeat/10)
	}
	m.waits++
	return soon(heartbeat, live, m.waits-1)
}

// soon returns a random time within which to beat, the longer the more instances there are and
// the more often there was nothing new.
func soon(heartbeat time.Duration, live, waits int) time.Duration {
	d := min(max(20*time.Millisecond, time.Duration(live)*2*time.Millisecond)<<min(waits, 10), heartbeat)
	return d/2 + rand.N(d/2)
}
