// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	weakrand "math/rand/v2"
	"sync/atomic"
)

// turns counts the turns that backends take. Retries have turns of their own: one that
// took the next turn would keep first attempts in step with it, so that of two backends
// the one that fails would meet each request first. Safe for concurrent use.
type turns struct {
	next  atomic.Uint64 // of first attempts
	again atomic.Uint64 // of retries
}

// shuffle begins anywhere: many proxies must not walk in step (gRFC A58).
func (t *turns) shuffle() {
	t.next.Store(weakrand.Uint64() >> 1)
	t.again.Store(weakrand.Uint64() >> 1)
}

// of returns the turns that a request takes.
func (t *turns) of(c *candidates) *atomic.Uint64 {
	if c.retry {
		return &t.again
	}
	return &t.next
}
