// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// run is one fan-out. Each target has a goroutine while it is tried; the last one to
// end ends the run. Safe for concurrent use.
type run struct {
	h        *Handler
	template *http.Request // read-only
	body     []byte        // read-only
	began    time.Duration // as of backend.Now
	targets  []*target     // the slice is read-only
	leftOut  []omission    // read-only
	known    map[string]bool
	over     chan struct{}            // closed when nobody is tried again
	decided  chan struct{}            // closed when the answer is known
	pick     chan http.ResponseWriter // of the client, for the first to accept; nil if it is not wanted; holds one
	relayed  chan struct{}            // closed when that one has ended

	mu     sync.Mutex // guards what follows, and the targets
	of     int        // how many the quorum is of
	active int        // targets that have a goroutine

	// Of the targets: those that have accepted, that still may, and that have a try
	// in flight which has not been answered.
	accepted, open, inFlight int

	verdict verdict
	ended   bool // over is closed
	settled bool // decided is closed
	first   *target
	aborted bool // the first was broken off in the middle of its answer
	wrote   bool // it has begun to answer
	alone   bool // the client has left, and it goes on without
	curbed  bool // the configuration has ended: nothing is detached any more
	timers  []*time.Timer
}

// settle is how long the tries in flight may take when all is decided and nobody is
// tried again: so long it is worth to know what has become of them.
const settle = time.Second

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
		h: h, template: template, body: body, began: backend.Now(), targets: targets, of: of, leftOut: leftOut,
		known: make(map[string]bool), over: make(chan struct{}), decided: make(chan struct{}),
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
		go r.pursue(ctx, t)
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
	r.h.ledger.leave(int64(len(r.body)))
	r.h.runs.remove(r)
}

// decide draws the conclusions of a target's end. The caller holds r.mu.
func (r *run) decide() {
	if r.verdict == undecided {
		switch v := r.h.quorum.judge(r.of, r.accepted, r.open); v {
		case reached:
			r.conclude(v)
			if !r.detached() {
				r.finish()
				r.after(settle, func() { r.giveUp(errReached) })
			}
			r.settle()
		case lost:
			r.conclude(v)
			r.finish()
			r.after(settle, func() {
				r.giveUp(errLost)
				r.mu.Lock()
				r.settle()
				r.mu.Unlock()
			})
		}
	}
	if r.verdict == lost && r.inFlight == 0 {
		r.settle()
	}
}

// close has a target get no further try. The caller holds r.mu.
func (r *run) close(t *target) {
	if !t.closed {
		t.closed = true
		r.open--
	}
}

// accept notes that a target has accepted. The caller holds r.mu.
func (r *run) accept(t *target) {
	r.close(t)
	t.accepted, t.inFlight, t.err = true, false, ""
	r.accepted++
	r.inFlight--
	if t.left {
		r.of++ // it was no part of the quorum any more, and is
	}
}

// conclude notes the verdict. The caller holds r.mu.
func (r *run) conclude(v verdict) {
	r.verdict = v
	r.h.ledger.ended[v].Add(1)
}

// finish has nobody be tried again. The caller holds r.mu.
func (r *run) finish() {
	if !r.ended {
		r.ended = true
		close(r.over)
	}
}

// settle has the client be answered. The caller holds r.mu.
func (r *run) settle() {
	if r.settled {
		return
	}
	r.settled = true
	close(r.decided)
	if r.verdict != reached {
		r.tell()
	}
}

// giveUp ends the tries that are in flight, but for the one whose answer the client
// gets.
func (r *run) giveUp(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		if t.cancel != nil && (t != r.first || r.verdict != reached) {
			t.cancel(why)
		}
	}
}

// cease ends the run for a reason that has nothing to do with the backends.
func (r *run) cease(v verdict, why error) {
	r.mu.Lock()
	if r.verdict == undecided {
		r.conclude(v)
	}
	r.finish()
	r.settle()
	r.mu.Unlock()
	r.giveUp(why)
}

// expire is called when the time is over.
func (r *run) expire() { r.cease(late, errLate) }

// detached reports whether the run may go on without its client. The caller holds
// r.mu.
func (r *run) detached() bool { return r.h.Detach && !r.curbed }

// leave is told that the client has left before the answer, and reports whether the
// run goes on without.
func (r *run) leave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alone = r.detached()
	return r.alone
}

// detachedFor bounds for how long the run may go on without its client, since its
// configuration has ended. What the client waits for, or reads, is not bounded.
func (r *run) detachedFor(d time.Duration) {
	if !r.h.Detach {
		return
	}
	if d <= 0 {
		r.curb()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active > 0 {
		r.after(d, r.curb)
	}
}

// curb ends what goes on without a client.
func (r *run) curb() {
	r.mu.Lock()
	r.curbed = true
	alone, rest := r.alone && r.verdict == undecided, r.verdict == reached
	if rest {
		r.finish()
	}
	r.mu.Unlock()
	if rest {
		r.giveUp(errStopped)
	}
	if alone {
		r.cease(stopped, errStopped)
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
		r.close(t)
		r.of--
		if t.cancel != nil {
			t.cancel(errLeft)
		}
	}
	if changed {
		r.decide()
	}
}
