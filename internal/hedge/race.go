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

// The attempts of a race.
const (
	First  = 0
	Second = 1

	undecided = -1
)

// Hedger makes the attempts of a race, and judges answers.
type Hedger interface {
	// First makes the first attempt, on the goroutine that runs the race.
	First(context.Context) (*http.Response, error)
	// Second prepares the second attempt, and returns the function that makes it; both on a goroutine of
	// their own. Run returns after Second, but perhaps before that function. Second returns nil if no
	// second attempt is allowed now. It is then called again, after a delay that doubles each time.
	Second(context.Context) (send func() (*http.Response, error))
	// Acceptable reports whether an answer wins even if the other attempt might get a better one. It may
	// be called for both attempts concurrently.
	Acceptable(*http.Response, error) bool
}

// Race makes up to two attempts for one request; the second begins if the first is late. The first acceptable answer
// wins, and the context of the other attempt ends with [ErrLost]. The exported fields are read-only, and Run may be
// called once.
type Race struct {
	// Delay is the time after which the first attempt is late.
	Delay time.Duration
	// Timers are the timers of the backend of the first attempt.
	Timers *Timers
	Hedger

	ctx   context.Context // of the request
	first attempt
	wait  wait // before the next call of Second

	mu      sync.Mutex    // guards the fields below
	second  *attempt      // nil before the first call of Second
	delay   time.Duration // of wait
	winner  int
	stopped bool          // no further second attempt begins
	ended   chan struct{} // closed when the second attempt has ended; nil unless it has begun
}

// Run makes the attempts. It returns the winning answer, and which attempt got it. If no answer is acceptable, it returns
// the outcome of the first attempt, or the answer of the second if only that has one.
func (r *Race) Run(ctx context.Context) (res *http.Response, by int, err error) {
	r.ctx, r.winner, r.delay = ctx, undecided, r.Delay
	one := &r.first
	one.begin(ctx, r, First)
	r.wait.race = r
	r.Timers.start(&r.wait, r.Delay)
	returned := false
	defer func() {
		if !returned { // it panics
			two, ended := r.stop()
			if r.claim(First); ended != nil {
				<-two.prepared
			}
		}
	}()
	res, err = r.First(one)
	returned = true
	two, ended := r.stop()
	if ended == nil {
		return res, First, err
	}
	winner := one.end(res, err)
	if winner == First {
		<-two.prepared
	} else {
		<-ended
		winner = r.won()
	}
	switch {
	case winner != undecided:
	case one.res == nil && two.res != nil:
		winner = Second
	default:
		winner = First
		two.discard()
	}
	if winner == Second {
		return two.res, Second, two.err
	}
	return one.res, First, one.err
}

// stop prevents a second attempt. If that has begun, it returns the attempt, and a channel that is closed when it ends.
func (r *Race) stop() (*attempt, chan struct{}) {
	r.Timers.stop(&r.wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.second, r.ended
}

// late makes the second attempt. The timer calls it.
func (r *Race) late() {
	two, ended := &attempt{prepared: make(chan struct{})}, make(chan struct{})
	r.mu.Lock()
	if r.stopped || r.winner != undecided {
		r.mu.Unlock()
		return
	}
	two.begin(r.ctx, r, Second)
	r.second, r.ended = two, ended
	r.mu.Unlock()
	defer close(ended)
	if send := r.prepare(two); send != nil {
		two.end(try(send))
		return
	}
	two.cancel(nil)
	r.mu.Lock()
	r.ended = nil
	r.delay *= 2
	stopped, delay := r.stopped, r.delay
	r.mu.Unlock()
	if !stopped {
		r.Timers.start(&r.wait, delay)
	}
}

// prepare calls Second. If that panics, the second attempt fails.
func (r *Race) prepare(two *attempt) (send func() (*http.Response, error)) {
	defer close(two.prepared)
	send = func() (*http.Response, error) { return nil, errPanic }
	defer panics.Recover("preparing the second attempt of a request")
	return r.Second(two)
}

// try calls send, and returns an error if it panics.
func try(send func() (*http.Response, error)) (res *http.Response, err error) {
	err = errPanic
	defer panics.Recover("making the second attempt of a request")
	return send()
}

// claim makes an attempt the winner unless there is one, and returns the winner.
func (r *Race) claim(number int) (winner int) {
	r.mu.Lock()
	winner, beaten := r.decide(number)
	r.mu.Unlock()
	if beaten != nil {
		beaten.cancel(ErrLost)
	}
	return winner
}

// decide makes an attempt the winner unless there is one. It returns the winner, and the other
// attempt if that is to be cancelled. The caller must hold mu.
func (r *Race) decide(number int) (winner int, beaten *attempt) {
	if r.winner != undecided {
		return r.winner, nil
	}
	r.winner = number
	if other := r.other(number); other != nil && !other.ended {
		beaten = other
	}
	return number, beaten
}

// other returns the other attempt; nil for a second one that has not begun. The caller must hold mu.
func (r *Race) other(number int) *attempt {
	if number == Second {
		return &r.first
	}
	return r.second
}

// won returns the winner.
func (r *Race) won() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.winner
}
