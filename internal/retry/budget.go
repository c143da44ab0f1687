// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package retry limits retries by a budget.
package retry

import (
	"sync/atomic"
	"time"
)

// Rules limit the retries in a pool. Read-only.
type Rules struct {
	// Ratio is the number of retries allowed for each request.
	Ratio float64
	// Min is the number of retries per second that are always allowed.
	Min int
}

const (
	// budgetWindow is the period over which requests and retries are counted (Finagle's retry
	// budget).
	budgetWindow = 10 * time.Second
	// budgetStep is the resolution of the window.
	budgetStep  = 250 * time.Millisecond
	budgetSteps = uint64(budgetWindow / budgetStep)
)

// Budget limits retries: in any 10 s, Ratio for each request of these 10 s, and Min per second in
// addition. Safe for concurrent use, without locks. A nil Budget allows all.
type Budget struct {
	rules    Rules
	requests slidingCounts
	retries  slidingCounts
}

// slidingCounts counts in steps of time. It has a word for each step of the window and the one
// that has begun. A word holds the number of the step, and the count in its lower bits.
type slidingCounts [budgetSteps + 1]atomic.Uint64

const (
	countBits = 24 // for the count, enough for 67 million a second
	countMask = 1<<countBits - 1
)

func budgetStepAt(now time.Duration) uint64 { return uint64(now / budgetStep) }

// add adds n to the count of a step, unless its word has been reused.
func (r *slidingCounts) add(step uint64, n int64) {
	w := &r[step%uint64(len(r))]
	for {
		old := w.Load()
		if old>>countBits > step {
			return
		}
		count := n
		if old>>countBits == step {
			count += int64(old & countMask)
		}
		if w.CompareAndSwap(old, step<<countBits|uint64(min(max(0, count), countMask))) {
			return
		}
	}
}

// sum returns the sum of the n steps up to step.
func (r *slidingCounts) sum(step, n uint64) (sum int64) {
	for i := range n {
		if word := r[(step-i)%uint64(len(r))].Load(); word>>countBits == step-i {
			sum += int64(word & countMask)
		}
	}
	return sum
}

// NewBudget returns an unused budget.
func NewBudget(rules Rules) *Budget { return &Budget{rules: rules} }

// Request counts a request.
func (b *Budget) Request(now time.Duration) {
	if b != nil {
		b.requests.add(budgetStepAt(now), 1)
	}
}

// available reports whether the number of retries, in the window and the begun part of the next
// step, is within the budget. Requests are counted in the window only, so that the limit holds
// for any 10 s.
func (b *Budget) available(step uint64, retries int64) bool {
	requests := float64(b.requests.sum(step, budgetSteps))
	return float64(retries) <= b.rules.Ratio*requests+float64(b.rules.Min)*budgetWindow.Seconds()+1e-9
}

// Left reports whether a retry is allowed. It counts nothing.
func (b *Budget) Left(now time.Duration) bool {
	step := budgetStepAt(now)
	return b == nil || b.available(step, b.retries.sum(step, budgetSteps+1)+1)
}

// Retry counts a retry, and reports false if it is not allowed. If several concurrent retries
// exceed the budget together, all of them may be refused.
func (b *Budget) Retry(now time.Duration) bool {
	if b == nil {
		return true
	}
	step := budgetStepAt(now)
	b.retries.add(step, 1)
	if b.available(step, b.retries.sum(step, budgetSteps+1)) {
		return true
	}
	b.retries.add(step, -1)
	return false
}

// Undo takes back a retry that was counted just now and is not made.
func (b *Budget) Undo(now time.Duration) {
	if b != nil {
		b.retries.add(budgetStepAt(now), -1)
	}
}
