// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package event delivers events to subscribers without waiting for them.
package event

import (
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Executor runs callbacks one at a time, in order, on a goroutine that exists while there are
// any. A callback may take long, and may reload the configuration. Safe for concurrent use. The
// zero value is ready.
type Executor struct {
	mu    sync.Mutex // guards the fields below
	queue []func()
	busy  bool
}

// maxQueued limits the number of queued callbacks. It suffices for all backends of a large pool.
const maxQueued = 1 << 16

// Execute queues a callback. It drops the callback if maxQueued are queued. A panic of the
// callback is logged, and the next one runs.
func (l *Executor) Execute(tell func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueued {
		return
	}
	l.queue = append(l.queue, tell)
	if !l.busy {
		l.busy = true
		go l.drain()
	}
}

func (l *Executor) drain() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		func() {
			defer panics.Recover("handling an event")
			next()
		}()
	}
}
