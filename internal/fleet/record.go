// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import "github.com/ballast-lb/caddy-ballast/internal/fleet/record"

// Record is one replicated value. Read-only.
type Record = record.Record

// Bounds of a [Record], and of a batch of records.
const (
	MaxName       = record.MaxName
	MaxValue      = record.MaxValue
	MaxTTL        = record.MaxTTL
	MaxBatch      = record.MaxBatch
	MaxBatchBytes = record.MaxBatchBytes
)
