// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// run is one fan-out. Each target has a goroutine while it is tried; the last one to
// end ends the run. Safe for concurrent use.
type run struct {
	h            *Handler
	template     *http.Request // read-only
	body         []byte        // read-only
	began        time.Duration // as of backend.Now
	targets      []*target     // the slice is read-only
	leftOut      []omission    // read-only
	known        map[string]bool
	retriesEnded chan struct{}            // closed when nobody is tried again
	answerReady  chan struct{}            // closed when the answer is known
	pick         chan http.ResponseWriter // of the client, for the first to accept; nil if it is not wanted; holds one
	relayed      chan struct{}            // closed when that one has ended

	mu     sync.Mutex // guards what follows, and the targets
	of     int        // how many the quorum is of
	active int        // targets that have a goroutine

	// Of the targets: those that have accepted, that still may, and that have a try
	// in flight which has not been answered.
	accepted, open, inFlight int

	result      result
	retriesDone bool // over is closed
	answered    bool // decided is closed
	first       *target
	aborted     bool // the first was broken off in the middle of its answer
	wrote       bool // it has begun to answer
	clientLeft  bool // the client has left, and it goes on without
	detachEnded bool // the configuration has ended: nothing is detached any more
	timers      []*time.Timer
}

// settleTime is how long the tries in flight may take when all is decided and nobody is
// tried again: so long it is worth to know what has become of them.
const settleTime = time.Second

// Why a try was given up.
var (
	errLate    = errors.New("given up: the time was over")
	errGone    = errors.New("given up: the client has left")
	errLost    = errors.New("given up: the quorum cannot be reached")
	errReached = errors.New("given up: the quorum was reached")
	errLeft    = errors.New("given up: it has left the pool")
	errStopped = errors.New("given up: the configuration has ended")
)

func newRun(h *Handler, template *http.Request, body []byte, view *backend.View, targets []*target, of int, leftOut []omission) *run {
	r := &run{
		h: h, template: template, body: body, began: clock.Now(), targets: targets, of: of, leftOut: leftOut,
		known: make(map[string]bool), retriesEnded: make(chan struct{}), answerReady: make(chan struct{}),
		pick: make(chan http.ResponseWriter, 1), relayed: make(chan struct{}), active: len(targets), open: len(targets),
	}
	for _, b := range view.Members.All {
		r.known[b.Address] = true
	}
	return r
}

// start sends the request to all targets.
func (r *run) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after(time.Duration(r.h.Timeout), r.expire)
	for _, t := range r.targets {
		// All are begun before any can end: the first try of each is made whatever
		// becomes of the others.
		ctx := r.begin(t)
		go r.tryTarget(ctx, t)
	}
}

// after has f called later, unless the run has ended by then. The caller holds r.mu.
func (r *run) after(d time.Duration, f func()) {
	r.timers = append(r.timers, time.AfterFunc(d, f))
}

// end is called when no target is tried any more. The caller holds r.mu.
func (r *run) end() {
	for _, t := range r.timers {
		t.Stop()
	}
	r.h.stats.release(int64(len(r.body)))
	r.h.runs.remove(r)
}

// evaluate draws the conclusions of a target's end. The caller holds r.mu.
func (r *run) evaluate() {
	if r.result == undecided {
		switch v := r.h.quorum.result(r.of, r.accepted, r.open); v {
		case reached:
			r.setResult(v)
			if !r.detached() {
				r.endRetries()
				r.after(settleTime, func() { r.cancelTries(errReached) })
			}
			r.answerClient()
		case lost:
			r.setResult(v)
			r.endRetries()
			r.after(settleTime, func() {
				r.cancelTries(errLost)
				r.mu.Lock()
				r.answerClient()
				r.mu.Unlock()
			})
		}
	}
	if r.result == lost && r.inFlight == 0 {
		r.answerClient()
	}
}

// closeTarget has a target get no further try. The caller holds r.mu.
func (r *run) closeTarget(t *target) {
	if !t.closed {
		t.closed = true
		r.open--
	}
}

// accept notes that a target has accepted. The caller holds r.mu.
func (r *run) accept(t *target) {
	r.closeTarget(t)
	t.accepted, t.inFlight, t.err = true, false, ""
	r.accepted++
	r.inFlight--
	if t.left {
		r.of++ // it was no part of the quorum any more, and is
	}
}

// setResult notes the verdict. The caller holds r.mu.
func (r *run) setResult(v result) {
	r.result = v
	r.h.stats.ended[v].Add(1)
}

// endRetries has nobody be tried again. The caller holds r.mu.
func (r *run) endRetries() {
	if !r.retriesDone {
		r.retriesDone = true
		close(r.retriesEnded)
	}
}

// answerClient has the client be answered. The caller holds r.mu.
func (r *run) answerClient() {
	if r.answered {
		return
	}
	r.answered = true
	close(r.answerReady)
	if r.result != reached {
		r.announceFailure()
	}
}

// cancelTries ends the tries that are in flight, but for the one whose answer the client
// gets.
func (r *run) cancelTries(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		if t.cancel != nil && (t != r.first || r.result != reached) {
			t.cancel(why)
		}
	}
}

// abort ends the run for a reason that has nothing to do with the backends.
func (r *run) abort(v result, why error) {
	r.mu.Lock()
	if r.result == undecided {
		r.setResult(v)
	}
	r.endRetries()
	r.answerClient()
	r.mu.Unlock()
	r.cancelTries(why)
}

// expire is called when the time is over.
func (r *run) expire() { r.abort(late, errLate) }

// detached reports whether the run may go on without its client. The caller holds
// r.mu.
func (r *run) detached() bool { return r.h.Detach && !r.detachEnded }

// leaveClient is told that the client has left before the answer, and reports whether the
// run goes on without.
func (r *run) leaveClient() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clientLeft = r.detached()
	return r.clientLeft
}

// detachedFor bounds for how long the run may go on without its client, since its
// configuration has ended. What the client waits for, or reads, is not bounded.
func (r *run) detachedFor(d time.Duration) {
	if !r.h.Detach {
		return
	}
	if d <= 0 {
		r.endDetached()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active > 0 {
		r.after(d, r.endDetached)
	}
}

// endDetached ends what goes on without a client.
func (r *run) endDetached() {
	r.mu.Lock()
	r.detachEnded = true
	alone, rest := r.clientLeft && r.result == undecided, r.result == reached
	if rest {
		r.endRetries()
	}
	r.mu.Unlock()
	if rest {
		r.cancelTries(errStopped)
	}
	if alone {
		r.abort(stopped, errStopped)
	}
}

// members is told who is in the pool. Nobody waits for a target that has left it,
// and it is no part of the quorum any more.
func (r *run) members(now *backend.Members) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for _, t := range r.targets {
		if t.left || now.Find(t.backend.Address) != nil {
			continue
		}
		t.left = true
		if t.accepted {
			continue
		}
		changed = true
		close(t.quit)
		r.closeTarget(t)
		r.of--
		if t.cancel != nil {
			t.cancel(errLeft)
		}
	}
	if changed {
		r.evaluate()
	}
}
