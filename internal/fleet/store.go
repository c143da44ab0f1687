// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"time"
)

// ErrGap says that changes since the cursor may be missing, so that all records must be read.
var ErrGap = errors.New("changes are missing")

// Store is a guest module in the namespace ballast.fleet. It must implement caddyfile.Unmarshaler
// to be used in a Caddyfile.
type Store interface {
	// Open returns a connection. It must not block and not call out: the first call of a method
	// of the connection does. The connection outlives the configuration and must not use its
	// context.
	Open() (Conn, error)
}

// Paced is implemented by a [Store] that is too slow for the configured heartbeat.
type Paced interface {
	// Pace returns the shortest interval of heartbeats, from 100ms to 1m.
	Pace() time.Duration
}

// Conn is the connection of one instance to a store that all instances of the fleet share. Each
// method returns when its context ends. Safe for concurrent use: the fleet calls Changes and All
// on one goroutine, and Beat, Push, Leave and Close on another. The fleet calls again after an
// error, with a back-off, so a Conn must not retry. No goroutine of a Conn outlives Close.
type Conn interface {
	// Beat records that the instance lives for ttl, and returns what the store knows of the
	// fleet. known is the generation of the latest reply, 0 for none.
	Beat(ctx context.Context, self Instance, ttl time.Duration, known uint64) (Beat, error)
	// Leave says that the instance ends now.
	Leave(ctx context.Context, id string) error
	// Push merges records into the store, as [Record.Compare] says, and tells the other
	// instances. An expired record counts as none. A record that the store has already counts as
	// a change only if it now expires later. There are at most [MaxBatchRecords], of about
	// [MaxBatchBytes] together. After an error, any of the records may have been merged.
	Push(ctx context.Context, from string, records []Record) error
	// Changes returns the changes after the cursor, in order, and the next cursor. It waits for
	// a change for at most wait, and then returns none. It may return changes that the instance
	// itself pushed. It returns [ErrGap] if changes are missing, also for a zero cursor.
	Changes(ctx context.Context, after Cursor, wait time.Duration) (Changes, error)
	// All calls yield with all records, in pages, and returns a cursor from before the first
	// page. A record may come twice. It calls yield on the caller's goroutine, at least once in
	// a second while it makes progress.
	All(ctx context.Context, yield func([]Record)) (Cursor, error)
	// Close ends the connection.
	Close() error
}

// Cursor is a position in the changes of a store. Only the store interprets it.
type Cursor string

// Changes are changes of records.
type Changes struct {
	// Records are the new records.
	Records []Record
	// Next is the cursor after them.
	Next Cursor
	// Instances says that an instance has joined or left, so that a beat is due.
	Instances bool
}

// Instance describes an instance to the others.
type Instance struct {
	// ID is unique among the processes, in at most 100 bytes.
	ID string `json:"id"`
	// Name is the configured name, or else the host name, in at most 100 bytes.
	Name string `json:"name"`
	// Zone is the zone of the instance; empty for none.
	Zone string `json:"zone,omitempty"`
	// Version is the version of Caddy and Ballast.
	Version string `json:"version,omitempty"`
	// Acknowledged is the generation that the instance has applied.
	Acknowledged uint64 `json:"acknowledged"`
}

// Beat is what the store knows of the fleet.
type Beat struct {
	// Generation increases with each instance that joins, leaves or changes its zone. 0 is never
	// used. Connections may number the generations differently.
	Generation uint64
	// Acknowledged is the lowest generation that a living instance has acknowledged.
	Acknowledged uint64
	// Instances are the living instances, the own one included. Nil if the generation is the
	// known one.
	Instances []Instance
	// Incarnation changes when the store has lost its records.
	Incarnation string
}
