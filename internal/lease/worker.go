// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"sync"
	"time"
)

// Worker repeats a step for as long as it has users, one for each running
// configuration, without a break when one takes over from another. A goroutine
// exists only during a step. Set Step and Interval before the first Start; safe
// for concurrent use.
type Worker[U comparable] struct {
	// Step does the work for the user in charge. It must return when ctx ends;
	// what it did then does not count. What it returns, if anything, is called
	// afterwards, and Stop does not wait for it: it may call anything.
	Step func(ctx context.Context, user U) (afterwards func())
	// Interval returns the time between the starts of two steps.
	Interval func(user U) time.Duration

	users Stack[U]

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	cancel  context.CancelFunc // ends the step that is running
	started time.Time          // of the latest step; zero for none
	running sync.WaitGroup
}

// Users returns all users, the one in charge last.
func (w *Worker[U]) Users() []U { return w.users.Users() }

// Start adds a user and has it in charge. The first step of all is taken at
// once; where earlier users have left off, the rhythm goes on.
func (w *Worker[U]) Start(user U) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users.Push(user)
	if w.timer != nil {
		return
	}
	wait := time.Duration(0)
	if !w.started.IsZero() {
		wait = max(0, time.Until(w.started.Add(w.Interval(user))))
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.timer = time.AfterFunc(wait, func() { w.run(ctx) })
}

// Stop removes a user. When it was the last, Stop ends the step that is
// running, if any, and waits for it. It may be called again.
func (w *Worker[U]) Stop(user U) {
	w.mu.Lock()
	if w.users.Remove(user) > 0 || w.timer == nil {
		w.mu.Unlock()
		return
	}
	w.timer.Stop()
	w.timer = nil
	w.cancel()
	w.mu.Unlock()
	w.running.Wait()
}

// run takes one step and plans the next.
func (w *Worker[U]) run(ctx context.Context) {
	w.mu.Lock()
	user, ok := w.users.Top()
	if ctx.Err() != nil || !ok {
		w.mu.Unlock()
		return
	}
	w.started = time.Now()
	w.running.Add(1)
	w.mu.Unlock()

	afterwards := w.Step(ctx, user)
	w.running.Done()
	if afterwards != nil {
		afterwards()
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if user, ok := w.users.Top(); ok && ctx.Err() == nil {
		w.timer.Reset(max(0, time.Until(w.started.Add(w.Interval(user)))))
	}
}
