// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"slices"
)

const (
	// MaxKept is the number of latest events that are kept for [Kept]. At 2 KB each, the most that ids,
	// addresses and reasons allow, they take 1 MB.
	MaxKept = 500
	// maxFrequent is the number of kept events that requests cause. Such events may occur thousands of times a
	// second, and must not displace the others.
	maxFrequent = 50
)

// FanoutFailedEvent is the name of the event that failing requests cause.
const FanoutFailedEvent = "fanout_failed"

// warnings are the events that an operator should look at.
var warnings = map[string]bool{
	"backend_down": true, "backend_ejected": true, "pool_guard_on": true, "pool_panic_on": true,
	"fleet_isolated": true, "fleet_store_lost": true, "rollout_aborted": true, FanoutFailedEvent: true,
}

// Warning reports whether an event is one that an operator should look at.
func (e *Event) Warning() bool { return warnings[e.Name] }

// ring keeps the latest events, at most most of them. subscriptions.mu guards it.
type ring struct {
	most int
	kept []Event
	next int // where the next event goes, once the ring is full
}

func (r *ring) add(e Event) {
	if len(r.kept) < r.most {
		r.kept = append(r.kept, e)
		return
	}
	r.kept[r.next] = e
	r.next = (r.next + 1) % r.most
}

// Kept returns the latest events of this process that match, oldest first, at most last of them, and
// the sequence number of the latest event of all. match must not call this package.
func Kept(last int, match func(*Event) bool) (events []Event, sequence uint64) {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	for _, r := range []*ring{&subscriptions.changes, &subscriptions.frequent} {
		for i := range r.kept {
			if match(&r.kept[i]) {
				events = append(events, r.kept[i])
			}
		}
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return events[max(0, len(events)-last):], subscriptions.sequence
}
