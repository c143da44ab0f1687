// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"sync/atomic"
)

// streamingMedian follows the median of a stream of numbers above zero, at a constant cost: each
// moves it by a small part towards itself (frugal streaming, Ma et al. 2013). It is
// within that part of the median of what came lately, and follows one that has doubled
// in a dozen numbers. Safe for concurrent use; of two numbers that come at a time one
// may be lost.
type streamingMedian struct{ bits atomic.Uint32 }

const medianStep = 1.0 / 16

// observe takes a number into account.
func (m *streamingMedian) observe(x float64) {
	at := math.Float32frombits(m.bits.Load())
	switch {
	case x <= 0: // nothing is known
		return
	case at == 0:
		at = float32(x)
	case float32(x) > at:
		at *= 1 + medianStep
	default:
		at /= 1 + medianStep
	}
	m.bits.Store(math.Float32bits(at))
}

// value returns the median, 0 if there were no numbers.
func (m *streamingMedian) value() float64 { return float64(math.Float32frombits(m.bits.Load())) }

func (m *streamingMedian) clone() *streamingMedian {
	c := new(streamingMedian)
	c.bits.Store(m.bits.Load())
	return c
}
