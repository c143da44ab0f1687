// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// ID is a hash of the id of a backend, used in cookies and stores. It is the same on every
// instance and does not reveal the id.
type ID uint64

// IDOf returns the hash of the id of a backend.
func IDOf(id string) ID {
	sum := sha256.Sum256([]byte(id))
	return ID(binary.BigEndian.Uint64(sum[:]))
}

// idOf returns the hash of a backend. Another instance with the same id has another hash, so that the
// sessions of the one before it move.
func idOf(b *backend.Backend) ID {
	if b.Instance == "" {
		return IDOf(b.ID)
	}
	return IDOf(b.ID + "\x00" + b.Instance)
}

// Binding is the assignment of a session to a backend, with its times.
type Binding struct {
	// Backend is the backend of the session.
	Backend ID
	// Issued is when the session began, in seconds since 1970.
	Issued int64
	// Seen is when the session was last used, in seconds since 1970. It may lag by a tenth of
	// the idle lifetime, at least by a second.
	Seen int64
}

// Lifetimes are the lifetimes of sessions.
type Lifetimes struct {
	// Idle is the lifetime after the last use, at least a second.
	Idle time.Duration
	// Absolute is the lifetime after the begin of the session; 0 for no limit.
	Absolute time.Duration
}

// skew is the allowed difference between the clocks of instances, in seconds. A session from
// further in the future is invalid.
const skew = 60

// refreshes is the number of parts of the idle lifetime. A use is recorded once in each part.
const refreshes = 10

// grain is the resolution of Seen, in seconds.
func (l Lifetimes) grain() int64 { return max(int64(l.Idle/time.Second)/refreshes, 1) }

// wholeSeconds returns a lifetime in seconds, rounded up, so that no session ends too soon.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Alive reports whether a session is alive, and whether to record its use now. Times are in
// whole seconds, and Seen may be as old as the first use after the last record. A use is
// recorded once Seen is as old as the grain, so the session ends no earlier than the idle
// lifetime after its last use, and no later than the grain after that. The absolute lifetime is
// exact to a second.
func (l Lifetimes) Alive(b Binding, now int64) (alive, refresh bool) {
	idle, age, grain := max(now-b.Seen, 0), max(now-b.Issued, 0), l.grain()
	switch {
	case b.Seen > now+skew, b.Issued > now+skew, idle >= l.life(), l.Absolute > 0 && age > wholeSeconds(l.Absolute):
		return false, false
	}
	return true, idle >= grain
}

// life is the longest time from the last use of a session to its end, in seconds.
func (l Lifetimes) life() int64 { return wholeSeconds(l.Idle) + l.grain() }

// left returns how long a session lives on without further use, in seconds.
func (l Lifetimes) left(b Binding, now int64) int64 {
	left := b.Seen + l.life() - now
	if l.Absolute > 0 {
		left = min(left, b.Issued+wholeSeconds(l.Absolute)+1-now)
	}
	return left
}
