// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// cost is the criterion of the latency policies: the expected wait at a backend with a latency, a
// number of requests in flight (queue) and the inverse of its weight. During slow start that is the
// full weight, so that an idle backend in its slow start is not avoided; the ramp reduces how often
// the backend is considered. A backend that has never answered has latency 0. Its cost is 0 while
// it is idle, so that it gets a first request, and higher than any other until it has answered, so
// that it gets only one (Finagle).
func cost(latency, queue, inverse float64) float64 {
	if latency == 0 && queue > 0 {
		latency = unknown
	}
	return latency * (queue + 1) * inverse
}

// peakScore is the criterion for the comparison of two backends.
type peakScore struct {
	cost    float64
	latency float64 // divided by the weight
	load    float64 // requests in flight, divided by the weight
}

func newPeakScore(latency, queue, inverse float64) peakScore {
	c := cost(latency, queue, inverse)
	return peakScore{c, c / (queue + 1), queue * inverse}
}

// beats reports whether q is better than o. If neither beats the other, they are equal.
func (q peakScore) beats(o peakScore) bool {
	if tied(q.latency, o.latency) {
		return q.load < o.load
	}
	return q.cost < o.cost
}

// tie is the factor by which a latency must exceed another to count as higher. Smaller
// differences are noise, and would send all requests to one of several similar backends.
const tie = 1.2

// tied reports whether two latencies count as equal.
func tied(a, b float64) bool { return a <= tie*b && b <= tie*a }

// unknown is the latency of a backend that has not answered its first request: 11 days in
// nanoseconds, more than any measured latency.
const unknown = 1e15

// never is a cost that is higher than that of any backend.
var never = math.Inf(1)

// inverses returns the inverse of each weight, since multiplication is faster than division in
// a scan.
func inverses(weights []float64) []float64 {
	inverse := make([]float64, len(weights))
	for i, w := range weights {
		inverse[i] = 1 / w
	}
	return inverse
}
