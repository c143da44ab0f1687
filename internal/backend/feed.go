// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

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

// feedLength is how many events a reader may be behind before it is cut off.
const feedLength = 256

// feed is who reads the events of this process.
var feed struct {
	mu      sync.Mutex
	readers map[*Listener]struct{}
	cut     int64
}

// Listener reads events from when it was made.
type Listener struct {
	// Events are the events. It is closed when the reader was too slow.
	Events chan Event
}

// Listen returns a listener to all events from now on, which must be closed.
func Listen() *Listener {
	r := &Listener{Events: make(chan Event, feedLength)}
	feed.mu.Lock()
	defer feed.mu.Unlock()
	if feed.readers == nil {
		feed.readers = make(map[*Listener]struct{})
	}
	feed.readers[r] = struct{}{}
	return r
}

// Close ends the reading. It may be called again.
func (r *Listener) Close() {
	feed.mu.Lock()
	defer feed.mu.Unlock()
	delete(feed.readers, r)
}

// Tell gives an event to all readers. It never waits: a reader that is too far
// behind is cut off.
func Tell(e Event) {
	feed.mu.Lock()
	defer feed.mu.Unlock()
	for r := range feed.readers {
		select {
		case r.Events <- e:
		default:
			delete(feed.readers, r)
			close(r.Events)
			feed.cut++
		}
	}
}

// Listeners returns how many read events now, and how many were cut off.
func Listeners() (now int, cut int64) {
	feed.mu.Lock()
	defer feed.mu.Unlock()
	return len(feed.readers), feed.cut
}
