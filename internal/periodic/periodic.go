// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package periodic runs tasks that go on while any configuration uses them, without a
// break when one takes over from another.
package periodic

import (
	"context"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Task repeats a step for as long as it has users, one for each running
// configuration, without a break when one takes over from another. A goroutine
// exists only during a step. Set Step and Interval before the first Start; safe
// for concurrent use.
type Task[U comparable] struct {
	// Run does the work for the user in charge. It must return when ctx ends;
	// what it did then does not count. What it returns, if anything, is called
	// afterwards, and Stop does not wait for it: it may call anything.
	Run func(ctx context.Context, user U) (afterwards func())
	// Interval returns the time between the starts of two steps.
	Interval func(user U) time.Duration
	// First returns, if set, the time from Start to the first step of all.
	First func(user U) time.Duration

	users shared.Generations[U]

	mu       sync.Mutex // guards what follows, and what it points to
	schedule *schedule  // nil while there are no users
	started  time.Time  // of the latest step; zero for none

}

// schedule is the time from the first user's coming to the last one's going.
type schedule struct {
	timer   *time.Timer
	due     time.Time // of the timer
	ctx     context.Context
	cancel  context.CancelFunc // ends the step that is running
	inRun   bool
	running sync.WaitGroup
	again   bool // Wake was called meanwhile
}

// Users returns all users, the one in charge last.
func (w *Task[U]) Users() []U { return w.users.Users() }

// Start adds a user and has it in charge. The first step of all is taken at
// once, or as First says; where earlier users have left off, the rhythm goes on.
func (w *Task[U]) Start(user U) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users.Push(user)
	if s := w.schedule; s != nil {
		// A shorter interval counts at once, and not when the longer is over.
		if due := w.started.Add(w.Interval(user)); !w.started.IsZero() && !s.inRun && due.Before(s.due) {
			s.set(time.Until(due))
		}
		return
	}
	wait := time.Duration(0)
	switch {
	case !w.started.IsZero():
		wait = max(0, time.Until(w.started.Add(w.Interval(user))))
	case w.First != nil:
		wait = w.First(user)
	}
	s := &schedule{due: time.Now().Add(wait)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.timer = time.AfterFunc(wait, func() { w.tick(s) })
	w.schedule = s
}

// Stop removes a user. When it was the last, Stop ends the step that is
// running, if any, and waits for it. It may be called again.
func (w *Task[U]) Stop(user U) {
	w.mu.Lock()
	if w.users.Remove(user) > 0 || w.schedule == nil {
		w.mu.Unlock()
		return
	}
	s := w.schedule
	s.timer.Stop()
	s.cancel()
	w.schedule = nil
	w.mu.Unlock()
	s.running.Wait()
}

// Wake has the next step taken at once, after the one that is running, if any.
func (w *Task[U]) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s := w.schedule; {
	case s == nil:
	case s.inRun:
		s.again = true
	default:
		s.set(0)
	}
}

// set plans the next step.
func (s *schedule) set(wait time.Duration) {
	wait = max(0, wait)
	s.due = time.Now().Add(wait)
	s.timer.Reset(wait)
}

// tick takes one step and plans the next.
func (w *Task[U]) tick(s *schedule) {
	w.mu.Lock()
	user, ok := w.users.Current()
	if s.ctx.Err() != nil || !ok {
		w.mu.Unlock()
		return
	}
	if s.inRun { // the timer had fired when Wake set it again
		s.again = true
		w.mu.Unlock()
		return
	}
	w.started, s.inRun, s.again = time.Now(), true, false
	s.running.Add(1)
	w.mu.Unlock()

	afterwards := w.Run(s.ctx, user)
	s.running.Done()
	if afterwards != nil {
		afterwards()
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	s.inRun = false
	user, ok = w.users.Current()
	switch {
	case !ok || s.ctx.Err() != nil:
	case s.again:
		s.set(0)
	default:
		s.set(time.Until(w.started.Add(w.Interval(user))))
	}
}
