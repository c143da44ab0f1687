// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// ID stands for the id of a backend, in cookies and in stores. It is the same on
// every instance, and says nothing of the id.
type ID uint64

// IDOf returns what stands for the id of a backend.
func IDOf(id string) ID {
	sum := sha256.Sum256([]byte(id))
	return ID(binary.BigEndian.Uint64(sum[:]))
}

// Binding is what is known of a session.
type Binding struct {
	// Backend is the one that the session is bound to.
	Backend ID
	// Issued is when the session began, in seconds since 1970.
	Issued int64
	// Seen is when the session was last used, in seconds since 1970. It may lag
	// by a tenth of the idle lifetime, at least by a second.
	Seen int64
}

// Lifetimes are for how long sessions last.
type Lifetimes struct {
	// Idle is for how long after its last use, at least a second.
	Idle time.Duration
	// Absolute is for how long after its beginning; 0 for any time.
	Absolute time.Duration
}

// skew is by how much the clocks of instances may differ. A session from further
// in the future is none.
const skew = 60

// refreshes is into how many parts the idle lifetime is divided: a use is noted
// once in each.
const refreshes = 10

// grain is how exactly Seen is known, in seconds.
func (l Lifetimes) grain() int64 { return max(int64(l.Idle/time.Second)/refreshes, 1) }

// wholeSeconds returns a lifetime in seconds, rounded up: no session ends too soon.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Alive reports whether a session lives, and whether it is time to note that it was
// used. Times are in whole seconds, and Seen may be as old as the first use after the
// latest note: since a use is noted when Seen is as old as the grain, the session ends
// no sooner than the idle lifetime after its last use, and no later than the grain
// after that. The absolute lifetime is exact to a second.
func (l Lifetimes) Alive(b Binding, now int64) (alive, refresh bool) {
	idle, age, grain := max(now-b.Seen, 0), max(now-b.Issued, 0), l.grain()
	switch {
	case b.Seen > now+skew, b.Issued > now+skew, idle >= wholeSeconds(l.Idle)+grain, l.Absolute > 0 && age > wholeSeconds(l.Absolute):
		return false, false
	}
	return true, idle >= grain
}
