// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"time"
)

// ErrGap means that changes after the cursor may be missing, so that all records must be read.
var ErrGap = errors.New("changes are missing")

// Store is a guest module in the namespace ballast.fleet. It must implement caddyfile.Unmarshaler
// to be used in a Caddyfile.
type Store interface {
	// Open returns a connection. It must not block or use the network: the first call of a method of the
	// connection does. The connection outlives the configuration and must not use its context.
	Open() (Conn, error)
}

// Paced is implemented by a [Store] that is too slow for short heartbeats.
type Paced interface {
	// Pace returns the shortest interval of heartbeats, from 100ms to 1m. It overrides a shorter
	// configured heartbeat.
	Pace() time.Duration
}

// Conn is the connection of one instance to a store that all instances of the fleet share. Each method must
// return when its context ends. Safe for concurrent use: the fleet calls Changes and All on one goroutine, and
// Beat, Push, Leave and Close on another. After an error the fleet calls again, with a backoff, so a Conn must
// not retry. No goroutine of a Conn may outlive Close.
type Conn interface {
	// Beat records that the instance lives for ttl, and returns the state of the fleet. known is the
	// generation of the latest reply, 0 for none.
	Beat(ctx context.Context, self Instance, ttl time.Duration, known uint64) (Beat, error)
	// Leave removes the instance from the fleet.
	Leave(ctx context.Context, id string) error
	// Push merges records into the store by [Record.Compare], and makes changed ones available to
	// Changes. Records that have expired count as absent. A record that equals the stored one counts as
	// changed only if it now expires later. There are at most [MaxBatch] records, of about
	// [MaxBatchBytes] together. After an error, any of the records may have been merged.
	Push(ctx context.Context, from string, records []Record) error
	// Changes returns the changes after the cursor, in order, and the next cursor. It waits up to wait
	// for a change, and then returns none. It may include changes that this instance has pushed. It
	// returns [ErrGap] if changes are missing, and for a zero cursor.
	Changes(ctx context.Context, after Cursor, wait time.Duration) (Changes, error)
	// All calls yield with all records, in pages, and returns a cursor from before the first page. A
	// record may appear twice. It must call yield on the caller's goroutine, at least once a second
	// while it makes progress.
	All(ctx context.Context, yield func([]Record)) (Cursor, error)
	// Close ends the connection.
	Close() error
}

// Cursor is a position in the changes of a store. Only the store interprets it.
type Cursor string

// Changes are changes of records.
type Changes struct {
	// Records are the records that were added or replaced.
	Records []Record
	// Next is the cursor after these changes.
	Next Cursor
	// Instances reports that an instance has joined or left, so that a beat is due.
	Instances bool
}

// Instance describes an instance of the fleet.
type Instance struct {
	// ID is unique among the processes, in at most 100 bytes.
	ID string `json:"id"`
	// Name is the configured name, or the host name without one, in at most 91 bytes.
	Name string `json:"name"`
	// Zone is the zone of the instance; empty for none.
	Zone string `json:"zone,omitempty"`
	// Version is the version of Caddy and Ballast.
	Version string `json:"version,omitempty"`
	// Acknowledged is the generation that the instance has applied.
	Acknowledged uint64 `json:"acknowledged"`
}

// Beat is the reply of the store to a beat: the state of the fleet.
type Beat struct {
	// Generation increases with each instance that joins, leaves or changes its zone. It is never 0.
	// Different connections may number generations differently.
	Generation uint64
	// Acknowledged is the lowest generation that a living instance has acknowledged.
	Acknowledged uint64
	// Instances are the living instances, including this one. Nil if the generation is the known one.
	Instances []Instance
	// Incarnation changes when the store has lost its records.
	Incarnation string
}
