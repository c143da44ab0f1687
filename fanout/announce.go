// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "sync"

// announcer tells the log and who listens to events, in their order, on a goroutine
// that exists while there is anything to tell: who listens may take long, or reload
// the configuration. Safe for concurrent use.
type announcer struct {
	tell func(data map[string]any)

	mu    sync.Mutex // guards what follows
	queue []map[string]any
	busy  bool
}

// most bounds how many events wait; more are of no use to anybody.
const most = 1000

// fail announces a fan-out that ended without its quorum.
func (a *announcer) fail(data map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) >= most {
		return
	}
	a.queue = append(a.queue, data)
	if !a.busy {
		a.busy = true
		go a.drain()
	}
}

func (a *announcer) drain() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			a.busy = false
			a.mu.Unlock()
			return
		}
		next := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		func() {
			defer func() { _ = recover() }() // a handler's fault is not ours
			a.tell(next)
		}()
	}
}
