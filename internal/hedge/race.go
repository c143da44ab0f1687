// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// ErrLost is the cause of the end of an attempt's context when the other attempt answers the client.
var ErrLost = errors.New("another attempt of the request was answered first")

var errPanic = errors.New("the second attempt panicked")

// RoundTrip makes an attempt.
type RoundTrip func(context.Context) (*http.Response, error)

// The attempts of a race.
const (
	First  = 0
	Second = 1

	undecided = -1
)

// Race is two attempts of one request, of which the second begins if the first is late. The first
// acceptable answer wins, and the context of the other attempt ends with [ErrLost]. The exported
// fields are read-only, and a race is run once.
type Race struct {
	// Delay is when the first attempt is late.
	Delay time.Duration
	// Second makes the second attempt, on a goroutine of its own. It returns neither an answer nor
	// an error if there may be none now. It is then called again, each time after twice as long.
	Second RoundTrip
	// Acceptable reports whether an answer wins, although the other attempt may get a better one.
	Acceptable func(*http.Response, error) bool

	attempts [2]attempt

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	wait    time.Duration // before the next call of Second
	winner  int
	stopped bool          // no further second attempt begins
	ended   chan struct{} // closed when the second attempt has ended; nil unless it has begun
}

// Run makes the first attempt on the caller's goroutine. It returns the answer that wins and which
// attempt got it. If none wins, it returns that of the first attempt, or that of the second if only
// that has any.
func (r *Race) Run(ctx context.Context, first RoundTrip) (res *http.Response, by int, err error) {
	r.winner, r.wait = undecided, r.Delay
	one := &r.attempts[First]
	one.begin(ctx, r, First)
	r.mu.Lock()
	r.timer = time.AfterFunc(r.Delay, func() { r.late(ctx) })
	r.mu.Unlock()
	returned := false
	defer func() {
		if !returned { // it panics
			r.stop()
			r.claim(First)
		}
	}()
	res, err = first(one)
	returned = true
	ended := r.stop()
	if ended == nil {
		return res, First, err
	}
	winner := one.end(res, err)
	if winner != First {
		<-ended
		winner = r.won()
	}
	two := &r.attempts[Second]
	switch {
	case winner != undecided:
	case one.res == nil && two.res != nil:
		winner = Second
	default:
		winner = First
		two.discard()
	}
	got := &r.attempts[winner]
	return got.res, winner, got.err
}

// stop prevents a second attempt, unless it has begun: then it returns its end.
func (r *Race) stop() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.timer.Stop()
	return r.ended
}

// late makes the second attempt.
func (r *Race) late(ctx context.Context) {
	two, ended := &r.attempts[Second], make(chan struct{})
	r.mu.Lock()
	if r.stopped || r.winner != undecided {
		r.mu.Unlock()
		return
	}
	two.begin(ctx, r, Second)
	r.ended = ended
	r.mu.Unlock()
	defer close(ended)
	res, err := r.second(two)
	if res != nil || err != nil {
		two.end(res, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended = nil; !r.stopped {
		r.wait *= 2
		r.timer.Reset(r.wait)
	}
}

// second calls Second, and makes a panic an error.
func (r *Race) second(ctx context.Context) (res *http.Response, err error) {
	err = errPanic
	defer panics.Recover("making the second attempt of a request")
	return r.Second(ctx)
}

// claim makes an attempt the winner unless there is one, and returns the winner.
func (r *Race) claim(number int) (winner int) {
	other := &r.attempts[1-number]
	r.mu.Lock()
	cancel := other.cancel
	if r.winner != undecided || other.ended {
		cancel = nil
	}
	if r.winner == undecided {
		r.winner = number
	}
	winner = r.winner
	r.mu.Unlock()
	if cancel != nil {
		cancel(ErrLost)
	}
	return winner
}

// won returns the winner.
func (r *Race) won() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.winner
}
