// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"sync/atomic"
)

// rotation counts the turns that backends take. Retries have turns of their own: one that
// took the next turn would keep first attempts in step with it, so that of two backends
// the one that fails would meet each request first. Safe for concurrent use.
type rotation struct {
	counter   atomic.Uint64 // of first attempts
	retryNext atomic.Uint64 // of retries
}

// shuffle begins anywhere: many proxies must not walk in step (gRFC A58).
func (t *rotation) shuffle() {
	t.counter.Store(weakrand.Uint64() >> 1)
	t.retryNext.Store(weakrand.Uint64() >> 1)
}

// next returns the turns that a request takes.
func (t *rotation) next(c *candidates) *atomic.Uint64 {
	if c.retry {
		return &t.retryNext
	}
	return &t.counter
}
