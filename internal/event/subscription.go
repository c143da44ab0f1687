// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"sync"
	"time"
)

// Event is something that has happened to a backend or a pool.
type Event struct {
	// Name is as in Caddy's events, such as backend_down.
	Name string
	// At is when it happened.
	At time.Time
	// Data is as in Caddy's events. Read-only.
	Data map[string]any
}

// subscriptionBuffer is how many events a reader may be behind before it is cut off.
const subscriptionBuffer = 256

// subscriptions is who reads the events of this process.
var subscriptions struct {
	mu      sync.Mutex
	readers map[*Subscription]struct{}
	cut     int64
}

// Subscription reads events from when it was made.
type Subscription struct {
	// Events are the events. It is closed when the reader was too slow.
	Events chan Event
}

// Subscribe returns a listener to all events from now on, which must be closed.
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

// Close ends the reading. It may be called again.
func (r *Subscription) Close() {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	delete(subscriptions.readers, r)
}

// Publish gives an event to all readers. It never waits: a reader that is too far
// behind is cut off.
func Publish(e Event) {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
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

// Subscriptions returns how many read events now, and how many were cut off.
func Subscriptions() (now int, cut int64) {
	subscriptions.mu.Lock()
	defer subscriptions.mu.Unlock()
	return len(subscriptions.readers), subscriptions.cut
}
