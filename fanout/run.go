// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// run is one fan-out. Each target has a goroutine until its last try ends; the last goroutine
// to return ends the run. Safe for concurrent use.
type run struct {
	h            *Handler
	template     *http.Request // read-only
	body         []byte        // read-only
	began        time.Duration // since the start of the process clock
	targets      []*target     // the slice is read-only
	leftOut      []omission    // read-only
	known        map[string]bool
	retriesEnded chan struct{}            // closed when no further try may start
	answerReady  chan struct{}            // closed when the answer to the client is known
	pick         chan http.ResponseWriter // the client's writer, for the first target to accept; nil: not wanted; capacity 1
	relayed      chan struct{}            // closed when the goroutine of that target has returned

	mu     sync.Mutex // guards the fields below and the targets
	total  int        // number of backends that the quorum refers to
	active int        // targets with a goroutine

	// Numbers of targets: accepted, still able to accept, with a try in flight that has no
	// response yet.
	accepted, open, inFlight int

	result      result
	retriesDone bool // retriesEnded is closed
	answered    bool // answerReady is closed
	first       *target
	aborted     bool // the response of first broke off before its end
	wrote       bool // first has begun to write to the client
	clientLeft  bool // the client has left and the run continues detached
	detachEnded bool // the grace period after a reload is over: no detached work any more
	timers      []*time.Timer
}

// settleTime is how long tries in flight may continue once the result is known and retries
// have ended, so that the report can say which backends have the write.
const settleTime = time.Second

// Reasons for giving up a try.
var (
	errLate    = errors.New("given up: timeout")
	errGone    = errors.New("given up: the client disconnected")
	errLost    = errors.New("given up: the quorum cannot be reached")
	errReached = errors.New("given up: the quorum was reached")
	errLeft    = errors.New("given up: the backend left the pool")
	errStopped = errors.New("given up: the configuration was stopped")
)

func newRun(h *Handler, template *http.Request, body []byte, view *pool.View, targets []*target, total int, leftOut []omission) *run {
	r := &run{
		h: h, template: template, body: body, began: clock.Now(), targets: targets, total: total, leftOut: leftOut,
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
		// All targets begin before any of them can end, so that each gets its first try
		// whatever the result of the others.
		ctx := r.begin(t)
		go r.tryTarget(ctx, t)
	}
}

// after calls f after d, unless the run has ended by then. The caller must hold r.mu.
func (r *run) after(d time.Duration, f func()) {
	r.timers = append(r.timers, time.AfterFunc(d, f))
}

// end releases the resources of the run when no target has a goroutine. The caller must hold r.mu.
func (r *run) end() {
	for _, t := range r.timers {
		t.Stop()
	}
	r.h.stats.release(int64(len(r.body)))
	r.h.runs.remove(r)
}

// evaluate updates the result after a change of the targets. The caller must hold r.mu.
func (r *run) evaluate() {
	if r.result == undecided {
		switch v := r.currentResult(); v {
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

// currentResult returns the result as of now. The quorum is not lost while backends that were taken out during their last try
// may still accept, and so count again. The caller must hold r.mu.
func (r *run) currentResult() result {
	v, late := r.h.quorum.result(r.total, r.accepted, r.open), 0
	for _, t := range r.targets {
		if t.uncounted && t.inFlight {
			late++
		}
	}
	if v == lost && r.h.quorum.result(r.total+late, r.accepted+late, r.open) != lost {
		return undecided
	}
	return v
}

// closeTarget prevents further tries of a target. The caller must hold r.mu.
func (r *run) closeTarget(t *target) {
	if !t.closed {
		t.closed = true
		r.open--
	}
}

// accept records that a target has accepted. The caller must hold r.mu.
func (r *run) accept(t *target) {
	r.closeTarget(t)
	t.accepted, t.inFlight, t.err = true, false, ""
	r.accepted++
	r.inFlight--
	if t.uncounted {
		t.uncounted = false
		r.total++
	}
}

// setResult sets and counts the result. The caller must hold r.mu.
func (r *run) setResult(v result) {
	r.result = v
	r.h.stats.ended[v].Add(1)
}

// endRetries prevents further tries of all targets. The caller must hold r.mu.
func (r *run) endRetries() {
	if !r.retriesDone {
		r.retriesDone = true
		close(r.retriesEnded)
	}
}

// answerClient releases the answer to the client. The caller must hold r.mu.
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

// cancelTries cancels the tries in flight, except the one whose response the client gets.
func (r *run) cancelTries(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		if t.cancel != nil && (t != r.first || r.result != reached) {
			t.cancel(why)
		}
	}
}

// abort ends the run for a reason that is independent of the backends.
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

// expire aborts the run at its timeout.
func (r *run) expire() { r.abort(late, errLate) }

// detached reports whether the run may continue without its client. The caller must hold r.mu.
func (r *run) detached() bool { return r.h.Detach && !r.detachEnded }

// leaveClient records that the client left before the answer, and reports whether the run
// continues without it.
func (r *run) leaveClient() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clientLeft = r.detached()
	return r.clientLeft
}

// detachedFor limits how long the run may continue without its client after its configuration
// has ended. It does not limit what a client waits for or reads.
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

// endDetached ends the work that continues without a client.
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

// members handles a change of the pool. The run does not wait for a target that has left the
// pool or was taken out, and the quorum no longer includes it.
func (r *run) members(now *pool.Members) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := false
	for _, t := range r.targets {
		gone := now.Find(t.backend.Address) == nil
		if gone && !t.accepted && t.cancel != nil {
			t.cancel(errLeft)
		}
		if gone || !t.backend.Admitted() {
			changed = r.leave(t) || changed
		}
	}
	if changed {
		r.evaluate()
	}
}

// leave ends the retries of a target that has left the pool or was taken out, and reports whether
// the result may have changed. A try in flight continues. The caller must hold r.mu.
func (r *run) leave(t *target) (changed bool) {
	if t.left {
		return false
	}
	t.left = true
	if t.accepted {
		return false
	}
	close(t.quit)
	r.closeTarget(t)
	if r.result != undecided {
		return false // the report has the quorum that was decided
	}
	t.uncounted = true
	r.total--
	return true
}
