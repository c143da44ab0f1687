// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package event tells others of what has happened without waiting for them.
package event

import (
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Executor tells things one after the other, on a goroutine that exists while there are
// any: who is told may take long, or reload the configuration. Safe for concurrent use;
// the zero value is ready.
type Executor struct {
	mu    sync.Mutex // guards what follows
	queue []func()
	busy  bool
}

// maxQueued bounds how many wait to be told: enough for all backends of a large pool, and
// more are of no use to anybody.
const maxQueued = 1 << 16

// Execute has tell be called when those before it were. It is dropped where too many wait.
// If it panics, that is the fault of who is told: it is logged, and the next is told.
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
			defer panics.Recover("telling of an event")
			next()
		}()
	}
}
