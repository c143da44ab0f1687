// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math"
	weakrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// SlowStart is how a backend that joins a pool, or recovers, comes to its full
// weight. Read-only.
type SlowStart struct {
	// Window is how long that takes; 0 for no time.
	Window time.Duration
	// MinRatio is the share of its weight that it begins with.
	MinRatio float64
}

// steps is how many a ramp has at most: in each of them the backend must have
// answered well.
const steps = 20

// maxStepsPerAnswer is for how many steps one answer counts at most. After a part of that a
// backend is owed a request: policies that go by load or latency send it none while its
// weight is low and others are idle, and chance few in a large pool.
const maxStepsPerAnswer = 2

// resetStarved has the backend get a request if it answers none in the step that begins now.
func (rules SlowStart) resetStarved(w *Ramp, now time.Duration) {
	w.starvedAt.Store(int64(now + rules.step()*maxStepsPerAnswer*3/4))
}

// step returns how long one is: long enough to judge by what is answered in it.
func (rules SlowStart) step() time.Duration {
	return max(rules.Window/steps, 100*time.Millisecond)
}

// Ramp is how warm a backend is. Safe for concurrent use.
type Ramp struct {
	word      atomic.Uint64 // the bits of the factor, 0 for 1
	starvedAt atomic.Int64  // when it is to have a request if it had none, as of Now

	mu         sync.Mutex // guards what follows
	phase      rampPhase
	doneAt     time.Duration // when it settled
	progress   float64
	advancedAt time.Duration // of the latest advance
	good       int64
	bad        int64
}

// rampPhase is where a backend is on its way to its full weight.
type rampPhase int

const (
	rampNew  rampPhase = iota // was never in the pool's views
	rampDone                  // has its full weight
	rampRunning
	rampAway
)

func (w *Ramp) factor() float64 {
	if bits := w.word.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return 1
}

// Ramping reports whether the backend has less than its full weight because it
// is not warm.
func (w *Ramp) Ramping() bool { return w.word.Load() != 0 }

// finish has the backend serve with its full weight from now on.
func (w *Ramp) finish(now time.Duration) {
	w.phase, w.doneAt = rampDone, now
	w.word.Store(0)
}

// Arrive notes who is in a pool's view, and has those ramp that were not. Where
// there is nobody to take the load meanwhile, or all are as new, there is no
// ramp.
func (rules SlowStart) Arrive(now time.Duration, members []*Backend) {
	if rules.Window == 0 {
		return
	}
	var old bool    // some backend has settled before
	var proven bool // and not just now
	for _, b := range members {
		b.Ramp.mu.Lock()
		if b.Ramp.phase == rampDone && b.serving() {
			old = true
			proven = proven || now-b.Ramp.doneAt >= rules.Window/10
		}
		b.Ramp.mu.Unlock()
	}
	for _, b := range members {
		w := &b.Ramp
		w.mu.Lock()
		switch here := b.serving(); {
		case !here && w.phase != rampNew:
			w.phase = rampAway
		case here && (w.phase == rampNew && proven || w.phase == rampAway && old):
			w.phase, w.progress, w.advancedAt = rampRunning, 0, now
			w.good, w.bad = b.Outcomes()
			w.word.Store(math.Float64bits(rules.MinRatio))
			rules.resetStarved(w, now)
		case here && (w.phase == rampNew || w.phase == rampAway):
			w.finish(now)
		}
		w.mu.Unlock()
	}
}

// serving reports whether the backend has its share of the requests.
func (b *Backend) serving() bool { return b.Open() && b.EjectionState() == Healthy }

// Advance goes on with the ramp for the time since it was last called, if the
// backend has answered well in it, and reports whether the weight has changed:
// one that answers nothing, or one in ten attempts with an error, stays where it
// is.
func (rules SlowStart) Advance(now time.Duration, b *Backend) (changed bool) {
	w := &b.Ramp
	if w.word.Load() == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == rampRunning && now-w.advancedAt < rules.step() {
		return false
	}
	good, bad := b.Outcomes()
	if good == w.good && bad == w.bad && w.phase == rampRunning && rules.Window > 0 {
		return false // the next answer will tell for this time, too
	}
	elapsed, well := now-w.advancedAt, good > w.good && good-w.good > 9*(bad-w.bad)
	w.advancedAt, w.good, w.bad = now, good, bad
	rules.resetStarved(w, now)
	switch {
	case w.phase != rampRunning || rules.Window == 0:
		if rules.Window == 0 {
			w.finish(now)
		}
		return true
	case !well:
		return false
	}
	w.progress += float64(min(elapsed, maxStepsPerAnswer*rules.step())) / float64(rules.Window)
	if w.progress >= 1 {
		w.finish(now)
	} else {
		w.word.Store(math.Float64bits(max(rules.MinRatio, w.progress)))
	}
	return true
}

// ReserveStarved claims a backend of a tier that warms up and is owed a request, or nothing if
// there is none: each is owed one in a step that it has answered nothing in. It looks at
// no more than a few.
func (v *View) ReserveStarved(tier int) Permit {
	t, now := &v.Tiers[tier], clock.Now()
	if len(t.Ramping) == 0 {
		return Permit{}
	}
	first := weakrand.IntN(len(t.Ramping))
	for i := range min(len(t.Ramping), maxTrials) {
		b := t.Ramping[(first+i)%len(t.Ramping)]
		owed := b.Ramp.starvedAt.Load()
		if int64(now) < owed || !b.Ramping() || !v.Usable(b) || !b.Ramp.starvedAt.CompareAndSwap(owed, int64(now+v.step)) {
			continue
		}
		if c, ok := v.Reserve(b); ok {
			return c
		}
	}
	return Permit{}
}

// ramp notes the share of its weight that the latest backend has come to.
func (t *Tier) ramp(share float64) {
	if share == 1 && t.Ramps == nil {
		return
	}
	for len(t.Ramps) < len(t.Backends)-1 {
		t.Ramps = append(t.Ramps, 1)
	}
	t.Ramps = append(t.Ramps, share)
}
