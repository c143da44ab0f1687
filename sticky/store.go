// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "context"

// Store is a guest module of the policy, in the namespace ballast.sessions: it keeps the
// sessions that no cookie holds. It must be a caddyfile.Unmarshaler for a Caddyfile to
// name it. A policy opens it when it is provisioned and closes what it got when it
// is cleaned up, and around a reload two have the same sessions open. Package storetest
// tests what follows.
type Store interface {
	// Open returns the sessions of a scope, which tells pools and kinds of
	// session ids apart. It must not wait for anything.
	Open(scope string, l Lifetimes) (Sessions, error)
}

// Sessions are which backend each session of one scope is bound to. Instances
// that share a store must see one another's bindings. Implementations are safe for
// concurrent use.
//
// A request waits for every answer. Each call has a context that ends after the policy's
// store_timeout; it must return by then, with an error if it does not know. An
// error costs the request its session and nothing else: it is served as the
// fallback policy chooses, it binds nothing, and the store is left alone for a
// while. What a call was to write may or may not be written then. A binding that
// was lost is a session that begins anew; one that is stale does no harm, since
// what it says is checked against the pool each time.
type Sessions interface {
	// Get returns the binding of a session, or false if there is none that
	// lives. It is no use of the session.
	Get(ctx context.Context, key Key) (b Binding, ok bool, err error)
	// BindIfAbsent binds a session unless it is bound, in one step, and returns
	// the binding that it has then: of two requests that bind at once, both get
	// that of the one which was first.
	BindIfAbsent(ctx context.Context, key Key, b Binding) (winner Binding, err error)
	// Touch notes that a session was used. It is called once in a tenth of the
	// idle lifetime. If the session is gone, or was used later, it does nothing.
	Touch(ctx context.Context, key Key, seen int64) error
	// Move binds a session to another backend if it is still bound to from, or
	// gone, in one step, and returns the binding that it has then.
	Move(ctx context.Context, key Key, from ID, to Binding) (winner Binding, err error)
	// Forget ends all sessions that are bound to a backend. It is called by
	// nobody who waits: its context gives it more time.
	Forget(ctx context.Context, backend ID) error
	// Close gives up the sessions, which live on for others.
	Close() error
}

// Local is what [Sessions] also are that are in this process: their methods never wait
// and never fail. They are called without a deadline. There are no sessions that another
// instance, or an earlier process, has bound.
type Local interface {
	Sessions
	// Local does nothing.
	Local()
}

// Counter is what [Sessions] also are that can tell, without waiting for anything, how
// many there are. For others the admin API and metrics tell the sessions of a backend
// that this instance has seen used in the last minute, estimated, and nothing of the
// store.
type Counter interface {
	Sessions
	// Count returns how many sessions of a backend live.
	Count(backend ID) int
	// Stats returns what the metrics of the store show.
	Stats() Stats
	// Table returns a comparable value that is the same for Sessions that have, and
	// count, the same sessions. They are counted once.
	Table() any
}

// Stats are the metrics of a store. What is nil is not known, and has no series.
type Stats struct {
	// Entries is how many sessions there are.
	Entries *int
	// Hits and Misses count the sessions that were looked for.
	Hits, Misses *uint64
	// Expired and Evicted count the sessions that were removed since they had been
	// idle, or to make room.
	Expired, Evicted *uint64
}

// Key stands for the id of a session. It is the same on every instance, and does
// not tell the id. That two ids have one key happens by chance to one of a million
// sessions in 37 million cases, and who makes it happen gets to the backend of a
// session whose id he knows.
type Key uint64
