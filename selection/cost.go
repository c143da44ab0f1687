// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import "math"

// cost is what the latency policies compare: the expected wait at a backend
// with a latency, a number of requests in flight, and one by its weight. A backend that
// has never answered, of latency 0, costs nothing while it is idle, so that it
// is tried; until it has answered it costs more than any other, so that it gets
// one request and not all of them (Finagle).
func cost(latency float64, inFlight int, inverse float64) float64 {
	if latency == 0 && inFlight > 0 {
		latency = unknown
	}
	return latency * float64(inFlight+1) * inverse
}

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
