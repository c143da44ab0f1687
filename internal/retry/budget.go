// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package retry bounds retries by a budget.
package retry

import (
	"sync/atomic"
	"time"
)

// Rules bound the retries in a pool. Read-only.
type Rules struct {
	// Ratio is how many there may be for each request.
	Ratio float64
	// Min is how many a second there may be in any case.
	Min int
}

const (
	// budgetWindow is the time that requests and retries are counted in (Finagle's
	// retry budget).
	budgetWindow = 10 * time.Second
	// budgetStep is how exactly.
	budgetStep  = 250 * time.Millisecond
	budgetSteps = uint64(budgetWindow / budgetStep)
)

// Budget bounds retries: in any 10 s, there are at most so many for each request of
// these 10 s, and so many a second in any case. Safe for concurrent use, without
// locks. A nil Budget allows all.
type Budget struct {
	rules    Rules
	requests slidingCounts
	retries  slidingCounts
}

// slidingCounts counts by steps of time. It has room for the window and the step that has
// begun. A word is the number of a step, and the count in its lower bits.
type slidingCounts [budgetSteps + 1]atomic.Uint64

const (
	countBits = 24 // of the count, enough for 67 million a second
	countMask = 1<<countBits - 1
)

func budgetStepAt(now time.Duration) uint64 { return uint64(now / budgetStep) }

// add adds n to the count of a step, if that is not long past.
func (r *slidingCounts) add(at uint64, n int64) {
	w := &r[at%uint64(len(r))]
	for {
		old := w.Load()
		if old>>countBits > at {
			return
		}
		count := n
		if old>>countBits == at {
			count += int64(old & countMask)
		}
		if w.CompareAndSwap(old, at<<countBits|uint64(min(max(0, count), countMask))) {
			return
		}
	}
}

// sum returns the count of the latest n steps, up to one.
func (r *slidingCounts) sum(at, n uint64) (sum int64) {
	for i := range n {
		if word := r[(at-i)%uint64(len(r))].Load(); word>>countBits == at-i {
			sum += int64(word & countMask)
		}
	}
	return sum
}

// NewBudget returns a budget that nothing was spent of.
func NewBudget(rules Rules) *Budget { return &Budget{rules: rules} }

// Request counts a request.
func (b *Budget) Request(now time.Duration) {
	if b != nil {
		b.requests.add(budgetStepAt(now), 1)
	}
}

// available reports whether so many retries, in the window and what has begun of the
// next step, are no more than there may be. The requests of that step before the
// window do not count, so that the bound holds for any 10 s.
func (b *Budget) available(at uint64, retries int64) bool {
	requests := float64(b.requests.sum(at, budgetSteps))
	return float64(retries) <= b.rules.Ratio*requests+float64(b.rules.Min)*budgetWindow.Seconds()+1e-9
}

// Left reports whether there may be a retry.
func (b *Budget) Left(now time.Duration) bool {
	at := budgetStepAt(now)
	return b == nil || b.available(at, b.retries.sum(at, budgetSteps+1)+1)
}

// Retry counts a retry, and reports false if there may not be one. Of several at
// the same moment that are one too many, all may be refused.
func (b *Budget) Retry(now time.Duration) bool {
	if b == nil {
		return true
	}
	at := budgetStepAt(now)
	b.retries.add(at, 1)
	if b.available(at, b.retries.sum(at, budgetSteps+1)) {
		return true
	}
	b.retries.add(at, -1)
	return false
}
