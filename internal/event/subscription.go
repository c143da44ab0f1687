// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"sync"
	"time"
)

// Event is a change of a backend or a pool.
type Event struct {
	// Name is as in Caddy's events, such as backend_down.
	Name string
	// At is when it happened.
	At time.Time
	// Data is as in Caddy's events. Read-only.
	Data map[string]any
	// Sequence numbers the events of this process from 1. Publish sets it.
	Sequence uint64
}

// subscriptionBuffer is the number of events that a subscriber may lag behind before it is cut off.
const subscriptionBuffer = 256

// subscriptions holds the subscribers of this process, how many were cut off, and the latest events.
var subscriptions = struct {
	mu       sync.Mutex // guards the fields below
	readers  map[*Subscription]struct{}
	cut      int64
	sequence uint64 // of the latest event
	changes  ring
	frequent ring // events that requests cause
}{changes: ring{most: MaxKept}, frequent: ring{most: maxFrequent}}

// Subscription receives events from its creation on.
type Subscription struct {
	// Events receives the events. It is closed if the subscriber was too slow.
	Events chan Event
}

// Subscribe returns a subscription to all events from now on. The caller must close it.
func Subscribe() *Subscription {
	r := &Subscription{Events: make(chan Event, subscriptionBuffer)}
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	if subscriptions.readers == nil {
		subscriptions.readers = make(map[*Subscription]struct{})
	}
	subscriptions.readers[r] = struct{}{}
	return r
}

// Close ends the subscription. Further calls do nothing.
func (r *Subscription) Close() {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	delete(subscriptions.readers, r)
}

// Publish keeps an event, and sends it to all subscribers. It never blocks: a subscriber whose
// buffer is full is cut off.
func Publish(e Event) {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	subscriptions.sequence++
	e.Sequence = subscriptions.sequence
	if e.Name == FanoutFailedEvent {
		subscriptions.frequent.add(e)
	} else {
		subscriptions.changes.add(e)
	}
	for r := range subscriptions.readers {
		select {
		case r.Events <- e:
		default:
			delete(subscriptions.readers, r)
			close(r.Events)
			subscriptions.cut++
		}
	}
}

// Subscriptions returns the number of subscriptions, and how many were cut off so far.
func Subscriptions() (now int, cut int64) {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	return len(subscriptions.readers), subscriptions.cut
}
