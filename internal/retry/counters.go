// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"slices"
	"sync/atomic"
)

// Result is what came of a further attempt.
type Result string

// The results of further attempts.
const (
	Won     Result = "won"     // its answer was passed on
	Lost    Result = "lost"    // it failed, too
	Refused Result = "refused" // the retry budget was used up
)

// Results are the results.
var Results = [...]Result{Won, Lost, Refused}

// Counters count further attempts. Safe for concurrent use.
type Counters [Triggers][len(Results)]atomic.Int64

// Add counts an attempt.
func (c *Counters) Add(t Trigger, r Result) { c[t][slices.Index(Results[:], r)].Add(1) }

// Count returns the number of attempts with a trigger and a result.
func (c *Counters) Count(t Trigger, r Result) int64 { return c[t][slices.Index(Results[:], r)].Load() }
