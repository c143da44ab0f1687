// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/replay"
)

// attempt is one attempt of a race, with its context. An interim response (1xx) that is passed on to the client makes the
// attempt the winner; those of the other attempt are dropped. Only the goroutine of the attempt may use the outcome until
// the attempt has ended.
type attempt struct {
	httpx.TraceContext
	race     *Race
	number   int
	cancel   context.CancelCauseFunc
	prepared chan struct{}         // closed when the second attempt is prepared; nil for the first
	trace    httptrace.ClientTrace // in the context; unused if the caller does not trace interim responses

	ended bool // guarded by the mutex of race
	lost  bool // the answer is discarded; guarded by the mutex of race

	res  *http.Response
	err  error
	kept *replay.Response // an answer that was not acceptable, read in advance; nil for none
}

// begin creates the context of the attempt.
func (a *attempt) begin(ctx context.Context, r *Race, number int) {
	a.race, a.number = r, number
	a.Context, a.cancel = context.WithCancelCause(ctx)
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil || trace.Got1xxResponse == nil {
		return
	}
	a.trace = *trace
	a.Trace = &a.trace
	a.trace.Got1xxResponse = func(code int, header textproto.MIMEHeader) error {
		switch {
		case code == http.StatusContinue && number == First: // it says nothing about the answer
		case code == http.StatusContinue, r.claim(number) != number: // the client has sent the body already
			return nil
		}
		return trace.Got1xxResponse(code, header)
	}
}

type secondKey struct{}

// Value implements [context.Context].
func (a *attempt) Value(key any) any {
	if key == (secondKey{}) {
		return a.number == Second
	}
	return a.TraceContext.Value(key)
}

// IsSecond reports whether ctx is that of a second attempt, or derived from it. A second attempt does not wait for
// capacity.
func IsSecond(ctx context.Context) bool {
	second, _ := ctx.Value(secondKey{}).(bool)
	return second
}

// end records the outcome of the attempt, and returns the winner. A short answer that does not win is read to its end, so
// that its connection can be used again.
func (a *attempt) end(res *http.Response, err error) (winner int) {
	r := a.race
	a.res, a.err = res, err
	acceptable := r.Acceptable(res, err)
	if err == nil && !acceptable {
		a.kept = replay.KeepResponse(res)
		a.res = a.kept.Whole()
	}
	var beaten, loser *attempt
	r.mu.Lock()
	a.ended = true
	if acceptable {
		winner, beaten = r.decide(a.number)
	} else {
		winner = r.winner
	}
	// The attempt that ends last discards the answer.
	switch other := r.other(a.number); {
	case winner == undecided:
	case winner != a.number:
		loser = a
	case other.ended:
		loser = other
	}
	if loser != nil && loser.lost {
		loser = nil
	} else if loser != nil {
		loser.lost = true
	}
	r.mu.Unlock()
	if beaten != nil {
		beaten.cancel(ErrLost)
	}
	if loser != nil {
		loser.discard()
	}
	return winner
}

// discard closes the answer, if there is one.
func (a *attempt) discard() {
	if a.kept == nil && a.res != nil {
		a.kept = replay.KeepResponse(a.res)
	}
	if a.kept != nil {
		a.kept.Discard()
	}
}
