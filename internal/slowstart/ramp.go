// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package slowstart

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Settings is how a backend that joins a pool, or recovers, reaches its full weight. Read-only.
type Settings struct {
	// Window is the duration of a slow start; 0 for none.
	Window time.Duration
	// MinRatio is the share of the weight at the start.
	MinRatio float64
}

// steps is the number of steps of a slow start. The ramp advances by a step only if the backend
// has answered well in it.
const steps = 20

// maxStepsPerAnswer is how many steps one answer advances the ramp at most. A backend that
// answers nothing for three quarters of that is starved, and gets a request: policies by load or
// latency send it none while its weight is low and others are idle, and random ones send few in a
// large pool.
const maxStepsPerAnswer = 2

// resetStarved sets the time from which the backend counts as starved, if it answers nothing
// before.
func (rules Settings) resetStarved(w *Ramp, now time.Duration) {
	w.starvedAt.Store(int64(now + rules.Step()*maxStepsPerAnswer*3/4))
}

// Step returns the length of a step, at least 100 ms, so that it has enough answers to judge.
func (rules Settings) Step() time.Duration {
	return max(rules.Window/steps, 100*time.Millisecond)
}

// Ramp is the progress of a backend in its slow start. Safe for concurrent use.
type Ramp struct {
	word      atomic.Uint64 // the bits of the factor, 0 for 1
	starvedAt atomic.Int64  // when the backend is starved, as of clock.Now

	mu         sync.Mutex // guards the fields below
	phase      rampPhase
	doneAt     time.Duration // when the backend reached its full weight
	progress   float64
	advancedAt time.Duration // of the latest step
	good       int64
	bad        int64
}

// rampPhase is the state of a slow start.
type rampPhase int

const (
	rampNew  rampPhase = iota // never in a view of the pool
	rampDone                  // at full weight
	rampRunning
	rampAway
)

// Factor returns the factor of the weight, 1 at full weight.
func (w *Ramp) Factor() float64 {
	if bits := w.word.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return 1
}

// Ramping reports whether the backend has less than its full weight because of its slow start.
func (w *Ramp) Ramping() bool { return w.word.Load() != 0 }

// finish gives the backend its full weight.
func (w *Ramp) finish(now time.Duration) {
	w.phase, w.doneAt = rampDone, now
	w.word.Store(0)
}

// Member is a backend with a slow start.
type Member interface {
	// SlowStart returns the progress.
	SlowStart() *Ramp
	// Serving reports whether the backend gets its share of the requests.
	Serving() bool
	// Outcomes returns the numbers of successful and failed attempts.
	Outcomes() (good, bad int64)
}

// Arrive starts the slow start of the members that were not serving before. A backend starts at
// full weight if no other is at full weight to take the load meanwhile. A new backend also does
// if all others have been at full weight for less than a tenth of the window, as after a start of
// Caddy.
func Arrive[M Member](rules Settings, now time.Duration, members []M) {
	if rules.Window == 0 {
		return
	}
	var old bool    // a serving backend is at full weight
	var proven bool // and has been for a tenth of the window
	for _, b := range members {
		w := b.SlowStart()
		w.mu.Lock()
		if w.phase == rampDone && b.Serving() {
			old = true
			proven = proven || now-w.doneAt >= rules.Window/10
		}
		w.mu.Unlock()
	}
	for _, b := range members {
		w := b.SlowStart()
		w.mu.Lock()
		switch serving := b.Serving(); {
		case !serving && w.phase != rampNew:
			w.phase = rampAway
		case serving && (w.phase == rampNew && proven || w.phase == rampAway && old):
			w.phase, w.progress, w.advancedAt = rampRunning, 0, now
			w.good, w.bad = b.Outcomes()
			w.word.Store(math.Float64bits(rules.MinRatio))
			rules.resetStarved(w, now)
		case serving && (w.phase == rampNew || w.phase == rampAway):
			w.finish(now)
		}
		w.mu.Unlock()
	}
}

// Advance advances the slow start by the time since its last call, and reports whether the weight
// has changed. The weight stays if the backend has answered nothing, or if a tenth or more of its
// attempts have failed.
func (rules Settings) Advance(now time.Duration, b Member) (changed bool) {
	w := b.SlowStart()
	if w.word.Load() == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == rampRunning && now-w.advancedAt < rules.Step() {
		return false
	}
	good, bad := b.Outcomes()
	if good == w.good && bad == w.bad && w.phase == rampRunning && rules.Window > 0 {
		return false // the next answer covers this time, too
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
	w.progress += float64(min(elapsed, maxStepsPerAnswer*rules.Step())) / float64(rules.Window)
	if w.progress >= 1 {
		w.finish(now)
	} else {
		w.word.Store(math.Float64bits(max(rules.MinRatio, w.progress)))
	}
	return true
}

// TakeStarved reports whether the backend is starved, and takes its turn: it is then starved again
// if it answers nothing for the time of step. It does not lock.
func (w *Ramp) TakeStarved(now, step time.Duration) bool {
	starvedAt := w.starvedAt.Load()
	return int64(now) >= starvedAt && w.starvedAt.CompareAndSwap(starvedAt, int64(now+step))
}

// Done reports whether the backend has reached its full weight, and serves.
func (w *Ramp) Done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == rampDone
}

// Restore gives a backend that was never in a view its full weight, as if it had had it for long.
func (w *Ramp) Restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == rampNew {
		w.phase, w.doneAt = rampDone, math.MinInt64/2
	}
}
