// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math/rand/v2"
	"slices"
	"time"
)

// members derives the living instances, and the places of this one, from the replies to beats. Only one
// goroutine may use it.
type members struct {
	reached     bool   // a beat has succeeded
	generation  uint64 // applied; 0 for none
	incarnation string
	places      []place
	beatAt      time.Time // when the latest beat succeeded
	holdUntil   time.Time // until when shares do not grow, since living instances may be missing
	waits       int       // beats since the generation changed, while shares have yet to grow
}

// lost reports whether the store has lost its records since the previous beat.
func (m *members) lost(b Beat) bool {
	return m.incarnation != "" && b.Incarnation != m.incarnation || b.Generation < m.generation
}

// forget resets the known generation, so that the next reply contains all instances.
func (m *members) forget(b Beat) { m.generation, m.incarnation = 0, b.Incarnation }

// apply applies the reply to a beat. ttl is for how long an instance lives after a beat. It returns the
// instances if they or the shares have changed, and else nil.
func (m *members) apply(before *Instances, self Instance, b Beat, ttl time.Duration) *Instances {
	now := time.Now()
	if m.lost(b) || m.reached && m.generation == 0 {
		// The generations start again, and the other instances may not have sent a beat yet.
		m.places = slices.Clone(m.places)
		for i := range m.places {
			m.places[i].generation = 0
		}
		m.holdUntil = now.Add(ttl)
	}
	if m.reached && now.Sub(m.beatAt) >= ttl {
		// Other instances that could not reach the store either count as dead until their next
		// beat.
		m.holdUntil = now.Add(ttl)
	}
	m.beatAt = now
	all, places := before.All, m.places
	changed := b.Instances != nil && (b.Generation != m.generation || b.Incarnation != m.incarnation)
	if changed {
		all = byID(b.Instances)
		if _, ok := indexOf(all, self.ID); !ok { // the reply does not include this beat yet
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
	if !now.Before(m.holdUntil) {
		acknowledged := b.Acknowledged
		if len(all) == 1 {
			acknowledged = b.Generation // this is the only instance
		}
		places = settle(places, acknowledged, now, ttl)
	}
	changed = changed || len(places) != len(m.places)
	m.places = places
	if !changed {
		return nil
	}
	rank, _ := indexOf(all, self.ID)
	return &Instances{Generation: b.Generation, All: all, Self: rank, places: places}
}

// wait returns the time to the next beat. After a change there are a few extra beats, with which
// instances acknowledge it and get the acknowledgements of the others. Their interval grows with
// the number of instances, which bounds the load of the store.
func (m *members) wait(heartbeat time.Duration, live int, changed bool) time.Duration {
	if !changed && len(m.places) == 1 || time.Now().Before(m.holdUntil) && !changed {
		return heartbeat - rand.N(heartbeat/10)
	}
	m.waits++
	return soon(heartbeat, live, m.waits-1)
}

// soon returns a random time to an extra beat, at most a heartbeat. It grows with the number of
// instances, and doubles with each beat without news.
func soon(heartbeat time.Duration, live, waits int) time.Duration {
	d := min(max(20*time.Millisecond, time.Duration(live)*2*time.Millisecond)<<min(waits, 10), heartbeat)
	return d/2 + rand.N(d/2)
}
