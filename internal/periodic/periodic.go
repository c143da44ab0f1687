// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package periodic runs tasks at an interval while any configuration uses them. They continue
// over a reload without a gap.
package periodic

import (
	"context"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Task runs a function periodically while it has users, one for each running configuration. It continues without a
// gap when a new configuration replaces the previous one. It has a goroutine only during a run. Set Run and
// Interval before the first Start. Safe for concurrent use.
type Task[U comparable] struct {
	// Run does the work for the current user. It must return when ctx ends; the result of that
	// run is not used. If afterwards is not nil, it is called after the run. Stop does not wait
	// for it, so it may call anything.
	Run func(ctx context.Context, user U) (afterwards func())
	// Interval returns the time between the starts of two runs.
	Interval func(user U) time.Duration
	// First, if set, returns the time from Start to the very first run.
	First func(user U) time.Duration

	users shared.Generations[U]

	mu       sync.Mutex // guards the fields below, and what they point to
	schedule *schedule  // nil while there are no users
	started  time.Time  // start of the latest run; zero for none

}

// schedule is the timer from the first user to the last.
type schedule struct {
	timer   *time.Timer
	due     time.Time // of the timer
	ctx     context.Context
	cancel  context.CancelFunc // ends the current run
	inRun   bool
	running sync.WaitGroup
	again   bool // Wake was called during the run
}

// Users returns all users, the current one last.
func (w *Task[U]) Users() []U { return w.users.Users() }

// Start adds a user and makes it the current one. The very first run starts at once, or after
// First. If the task ran for earlier users, the interval continues from its last run.
func (w *Task[U]) Start(user U) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users.Push(user)
	if s := w.schedule; s != nil {
		// A shorter interval applies at once, not only after the next run.
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

// Stop removes a user. For the last one, it cancels the current run, if any, and waits for its
// end. Further calls do nothing.
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

// Wake starts the next run at once, or after the current one.
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

// set schedules the next run.
func (s *schedule) set(wait time.Duration) {
	wait = max(0, wait)
	s.due = time.Now().Add(wait)
	s.timer.Reset(wait)
}

// tick does one run and schedules the next.
func (w *Task[U]) tick(s *schedule) {
	w.mu.Lock()
	user, ok := w.users.Current()
	if s.ctx.Err() != nil || !ok {
		w.mu.Unlock()
		return
	}
	if s.inRun { // the timer had fired when Wake reset it
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
