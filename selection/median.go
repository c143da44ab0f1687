// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"sync/atomic"
)

// streamingMedian estimates the median of a stream of positive numbers at constant cost: each
// number moves the estimate by a small step towards itself (frugal streaming, Ma et al. 2013).
// The estimate is within one step of the median of recent numbers, and follows a median that
// doubles within about a dozen numbers. It is safe for concurrent use; one of two concurrent
// numbers may be lost.
type streamingMedian struct{ bits atomic.Uint32 }

const medianStep = 1.0 / 16

// observe adds a number.
func (m *streamingMedian) observe(x float64) {
	median := math.Float32frombits(m.bits.Load())
	switch {
	case x <= 0: // unknown
		return
	case median == 0:
		median = float32(x)
	case float32(x) > median:
		median *= 1 + medianStep
	default:
		median /= 1 + medianStep
	}
	m.bits.Store(math.Float32bits(median))
}

// value returns the median, or 0 if there were no numbers.
func (m *streamingMedian) value() float64 { return float64(math.Float32frombits(m.bits.Load())) }

func (m *streamingMedian) clone() *streamingMedian {
	c := new(streamingMedian)
	c.bits.Store(m.bits.Load())
	return c
}
