// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package queue has requests wait in line for something that is handed to them.
// There is no polling: who gives something up hands it to whom it chooses, and
// who waits sleeps until then, or until its time is over, or its client has left.
package queue

import (
	"context"
	"time"
)

// Line is a line of waiters, in the order in which they came. It has no lock
// and no bound of its own; its owner sees to both. The zero value is empty.
type Line[T any] struct {
	oldest, newest *Waiter[T]
	n              int
}

// Waiter waits in one line, once. Its place belongs to the line's owner.
type Waiter[T any] struct {
	// Since is when it came, on the owner's clock.
	Since time.Duration

	older, newer *Waiter[T]
	line         *Line[T] // nil unless it stands in one
	granted      chan T
}

// NewWaiter returns a waiter that comes now.
func NewWaiter[T any](now time.Duration) *Waiter[T] {
	return &Waiter[T]{Since: now, granted: make(chan T, 1)}
}

// Len returns how many wait.
func (l *Line[T]) Len() int { return l.n }

// Oldest returns who has waited longest, or nil.
func (l *Line[T]) Oldest() *Waiter[T] { return l.oldest }

// Newest returns who came last, or nil.
func (l *Line[T]) Newest() *Waiter[T] { return l.newest }

// Newer returns who came next after w, or nil.
func (w *Waiter[T]) Newer() *Waiter[T] { return w.newer }

// Join puts w at the end of the line. It must not have stood in one before.
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

// Leave takes w out of its line, and reports whether it stood in one still.
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

// Grant takes w, which must stand in it, out of its line and hands it v.
func (w *Waiter[T]) Grant(v T) {
	w.Leave()
	w.granted <- v // never blocks: a waiter is given one thing
}

// Outcome is what became of a wait.
type Outcome int

// The outcomes of a wait.
const (
	Granted Outcome = iota // something was handed over
	Expired                // the time was over first
	Left                   // the context ended first
)

// Wait waits until w is given something, but no longer than patience and not
// after ctx has ended. It then asks leave, which takes the owner's lock and
// calls [Waiter.Leave]; if w had been given something meanwhile, that is what
// it returns. What is given to a waiter whose context has ended is given, too:
// the caller has to use it or to pass it on.
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
