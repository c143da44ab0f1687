// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"sync/atomic"
)

// rotation counts the turns of backends. Retries have their own counter: with a common one, each
// failure of one of two backends is followed by a retry on the other, so that the failing one would
// get every first attempt. It is safe for concurrent use.
type rotation struct {
	counter   atomic.Uint64 // of first attempts
	retryNext atomic.Uint64 // of retries
}

// shuffle sets a random start, so that many proxies are not synchronized (gRFC A58).
func (t *rotation) shuffle() {
	t.counter.Store(weakrand.Uint64() >> 1)
	t.retryNext.Store(weakrand.Uint64() >> 1)
}

// next returns the counter for a request.
func (t *rotation) next(c *candidates) *atomic.Uint64 {
	if c.retry {
		return &t.retryNext
	}
	return &t.counter
}
