// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// The contract between a fleet and its store.
type (
	// Store is a guest module in the namespace ballast.fleet.
	Store = fleet.Store
	// Paced is implemented by a store that sets the shortest interval of heartbeats.
	Paced = fleet.Paced
	// Conn is the connection of an instance to a store.
	Conn = fleet.Conn
	// Cursor is a position in the changes of a store.
	Cursor = fleet.Cursor
	// Changes are changes of records.
	Changes = fleet.Changes
	// Record is one replicated value.
	Record = fleet.Record
	// Instance describes an instance of the fleet.
	Instance = fleet.Instance
	// Beat is the reply of a store to a beat: the state of the fleet.
	Beat = fleet.Beat
)

// ErrGap means that changes after the cursor may be missing, so that all records must be read.
var ErrGap = fleet.ErrGap

// Bounds: bytes of a topic and of a key, bytes of a value, and the TTL of a [Record]; the number of records, and
// their approximate bytes, of a push.
const (
	MaxName       = fleet.MaxName
	MaxValue      = fleet.MaxValue
	MaxTTL        = fleet.MaxTTL
	MaxBatch      = fleet.MaxBatch
	MaxBatchBytes = fleet.MaxBatchBytes
)

// AppendBatch appends the binary encoding of records, which must be valid, to dst. Stores may use
// it to store several records in one value. The encoding begins with a version.
func AppendBatch(dst []byte, records []Record) []byte { return record.AppendBatch(dst, records) }

// DecodeBatch decodes the records that [AppendBatch] has encoded, at most 10,000. Their values refer to data.
func DecodeBatch(data []byte) ([]Record, error) { return record.DecodeBatch(data) }
