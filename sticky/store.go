// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "context"

// Store is a guest module of the policy, in the namespace ballast.sessions. It holds the
// sessions that are not in a cookie. It must implement caddyfile.Unmarshaler to be used in a
// Caddyfile. A policy opens the store when it is provisioned, and closes the sessions when it
// is cleaned up; around a reload, two policies have the same sessions open. Package storetest
// tests the rules below.
type Store interface {
	// Open returns the sessions of a scope. The scope distinguishes pools and kinds of session
	// ids. It must not block.
	Open(scope string, l Lifetimes) (Sessions, error)
}

// Sessions maps the sessions of one scope to backends. Instances that share a store must see
// each other's bindings. Implementations must be safe for concurrent use.
//
// A request waits for every call. The context of a call ends after the policy's store_timeout;
// the call must return by then, with an error if it has no result. After an error the request
// is served without its session: the fallback policy chooses the backend, nothing is bound, and
// the store is not called for a while. A failed write may or may not have taken effect. A lost
// binding makes the session begin again. A stale binding does no harm, since each binding is
// checked against the pool.
type Sessions interface {
	// Get returns the binding of a session, or false if there is none or it has expired. It
	// does not refresh the idle time.
	Get(ctx context.Context, key Key) (b Binding, ok bool, err error)
	// BindIfAbsent binds a session unless it is bound, atomically, and returns the resulting
	// binding. Two concurrent requests that bind a session both get the binding of the first.
	BindIfAbsent(ctx context.Context, key Key, b Binding) (winner Binding, err error)
	// Touch records the use of a session. It is called once in a tenth of the idle lifetime. It does nothing if
	// the session does not exist, or has a later use.
	Touch(ctx context.Context, key Key, seen int64) error
	// Move binds a session to another backend, atomically, if it is still bound to from or does not exist, and
	// returns the resulting binding.
	Move(ctx context.Context, key Key, from ID, to Binding) (winner Binding, err error)
	// Forget ends all sessions that are bound to a backend. No request waits for it, so its
	// context allows more time.
	Forget(ctx context.Context, backend ID) error
	// Close releases the sessions. They stay available to other users of the store.
	Close() error
}

// Local marks [Sessions] in this process: their methods never block and never fail, and are
// called without a deadline. What other instances have bound, if the store has it, arrives on its
// own.
type Local interface {
	Sessions
	// Local does nothing.
	Local()
}

// Counter is implemented by [Sessions] that can count the sessions of a backend without
// blocking. For other stores, the admin API and the metrics show an estimate of the sessions
// that this instance has seen in the last minute, and nothing of the store.
type Counter interface {
	Sessions
	// Count returns the number of live sessions of a backend.
	Count(backend ID) int
	// Stats returns the metrics of the store.
	Stats() Stats
	// Table returns a comparable value that identifies the set of sessions that is counted.
	// Sessions with equal values are counted once.
	Table() any
}

// Stats are the metrics of a store. A nil field is unknown and has no series.
type Stats struct {
	// Entries is the number of sessions.
	Entries *int
	// Hits and Misses count the lookups of sessions.
	Hits, Misses *uint64
	// Expired and Evicted count the sessions that were removed because they were idle, or to
	// make room.
	Expired, Evicted *uint64
}

// Key is a hash of a session id. It is the same on every instance and does not reveal the id.
// With 1e6 sessions the chance of any collision is about 1 in 37 million. A client that causes
// a collision with an id that it knows is sent to the backend of that session.
type Key uint64
