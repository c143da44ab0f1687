// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package queue is a FIFO queue of requests that wait for a value, such as a slot. Waiters do not
// poll: the owner of the queue grants a value to a waiter of its choice. A waiter sleeps until
// then, until its timeout, or until its client leaves.
package queue

import (
	"context"
	"time"
)

// Line is a list of waiters in order of arrival. It has no lock and no limit; its owner provides
// both. The zero value is empty.
type Line[T any] struct {
	oldest, newest *Waiter[T]
	n              int
}

// Waiter waits in one line, once. Its fields are guarded by the lock of the line's owner.
type Waiter[T any] struct {
	// Since is when the waiter arrived, on the owner's clock.
	Since time.Duration

	older, newer *Waiter[T]
	line         *Line[T] // nil unless it is in a line
	granted      chan T
}

// NewWaiter returns a waiter that arrives at now.
func NewWaiter[T any](now time.Duration) *Waiter[T] {
	return &Waiter[T]{Since: now, granted: make(chan T, 1)}
}

// Len returns the number of waiters.
func (l *Line[T]) Len() int { return l.n }

// Oldest returns the waiter that has waited longest, or nil.
func (l *Line[T]) Oldest() *Waiter[T] { return l.oldest }

// Newest returns the waiter that arrived last, or nil.
func (l *Line[T]) Newest() *Waiter[T] { return l.newest }

// Newer returns the waiter that arrived next after w, or nil.
func (w *Waiter[T]) Newer() *Waiter[T] { return w.newer }

// Join appends w to the line. A waiter can join a line only once.
func (l *Line[T]) Join(w *Waiter[T]) {
	w.line, w.older = l, l.newest
	if l.newest != nil {
		l.newest.newer = w
	} else {
		l.oldest = w
	}
	l.newest = w
	l.n++
}

// Leave removes w from its line, and reports whether it was still in it.
func (w *Waiter[T]) Leave() bool {
	l := w.line
	if l == nil {
		return false
	}
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		l.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		l.newest = w.older
	}
	w.line, w.older, w.newer = nil, nil, nil
	l.n--
	return true
}

// Grant removes w from its line and delivers v to it. w must be in a line.
func (w *Waiter[T]) Grant(v T) {
	w.Leave()
	w.granted <- v // never blocks: a waiter gets one value
}

// Outcome is how a wait ended.
type Outcome int

// The outcomes of a wait.
const (
	Granted Outcome = iota // a value was granted
	Expired                // the timeout came first
	Left                   // the context ended first
)

// Wait waits until w is granted a value, at most for patience and until ctx ends. After the
// timeout or the end of ctx it calls leave, which must take the owner's lock and call
// [Waiter.Leave]. If w was granted a value meanwhile, Wait returns it, even if ctx has ended: the
// caller must use the value or pass it on.
func (w *Waiter[T]) Wait(ctx context.Context, patience time.Duration, leave func() bool) (T, Outcome) {
	outcome := Expired
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-w.granted:
		return v, Granted
	case <-timer.C:
	case <-ctx.Done():
		outcome = Left
	}
	if !leave() {
		return <-w.granted, Granted
	}
	var none T
	return none, outcome
}
