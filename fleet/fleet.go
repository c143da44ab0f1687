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
	// Paced is implemented by a store that is too slow for the configured heartbeat.
	Paced = fleet.Paced
	// Conn is the connection of an instance to a store.
	Conn = fleet.Conn
	// Cursor is a position in the changes of a store.
	Cursor = fleet.Cursor
	// Changes are changes of records.
	Changes = fleet.Changes
	// Record is one replicated value.
	Record = fleet.Record
	// Instance describes an instance to the others.
	Instance = fleet.Instance
	// Beat is what a store knows of the fleet.
	Beat = fleet.Beat
)

// ErrGap says that changes since the cursor may be missing, so that all records must be read.
var ErrGap = fleet.ErrGap

// Bounds of a [Record] and of the records of a push.
const (
	MaxName       = fleet.MaxName
	MaxValue      = fleet.MaxValue
	MaxTTL        = fleet.MaxTTL
	MaxBatch      = fleet.MaxBatch
	MaxBatchBytes = fleet.MaxBatchBytes
)

// AppendBatch appends the binary encoding of valid records to dst. The encoding has a version, and
// is the same for all stores.
func AppendBatch(dst []byte, records []Record) []byte { return record.AppendBatch(dst, records) }

// DecodeBatch decodes what [AppendBatch] has encoded, at most 10,000 records. Their values refer
// to data.
func DecodeBatch(data []byte) ([]Record, error) { return record.DecodeBatch(data) }
