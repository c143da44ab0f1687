// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// cost is what the latency policies compare: the expected wait at a backend
// with a latency, a number of requests in flight, and one by its weight. Where backends
// warm up that is the weight that they will have, so that one of them is not avoided
// while it is idle; how often it is looked at then follows its ramp. A backend that
// has never answered, of latency 0, costs nothing while it is idle, so that it
// is tried; until it has answered it costs more than any other, so that it gets
// one request and not all of them (Finagle).
func cost(latency, queue, inverse float64) float64 {
	if latency == 0 && queue > 0 {
		latency = unknown
	}
	return latency * (queue + 1) * inverse
}

// peakScore is what two backends are compared by.
type peakScore struct {
	cost    float64
	latency float64 // by the weight
	load    float64 // requests in flight, by the weight
}

func newPeakScore(latency, queue, inverse float64) peakScore {
	at := cost(latency, queue, inverse)
	return peakScore{at, at / (queue + 1), queue * inverse}
}

// beats reports whether q is better than o. If it is not, they may be equal.
func (q peakScore) beats(o peakScore) bool {
	if tied(q.latency, o.latency) {
		return q.load < o.load
	}
	return q.cost < o.cost
}

// tie is by how much a latency must exceed another to count as the higher one. Less is
// chance, and to go by it would send all requests to one of backends that are alike.
const tie = 1.2

// tied reports whether two latencies count as equal.
func tied(a, b float64) bool { return a <= tie*b && b <= tie*a }

// unknown is the latency of a backend that has not answered its first request:
// 11 days in nanoseconds, beyond any that is measured.
const unknown = 1e15

// never is a cost that any backend undercuts.
var never = math.Inf(1)

// inverses returns one by each weight, since a scan multiplies faster than it
// divides.
func inverses(weights []float64) []float64 {
	inverse := make([]float64, len(weights))
	for i, w := range weights {
		inverse[i] = 1 / w
	}
	return inverse
}
