// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"math"
	weakrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Rule is how many requests may be in flight.
type Rule interface {
	// Start returns the state to begin with.
	Start() State
}

// Learner is a rule that changes the limit by what it sees. Requests count
// until they are answered; what streams then does not.
type Learner interface {
	Rule
	// Next returns what follows from a window, and why. It depends on nothing else.
	Next(State, Window) (State, Reason)
}

// Factory is a rule of which each gate has one of its own, since it has state besides
// [State]. It measures no base.
type Factory interface {
	Rule
	// New returns the rule of a gate.
	New() Rule
}

// Config is what a [Gate] is made of.
type Config struct {
	// Rule says how many may be in flight.
	Rule Rule
	// Slope, if above 0, has requests beyond the limit be refused with the
	// probability 1 - exp(-Slope x (in flight - limit)) instead of for certain.
	Slope float64
	// Levels are those in use. Default: Normal.
	Levels []Level
	// Pressure says that Press is called.
	Pressure bool
	// Counts are counted in. Default: new ones.
	Counts *Counts
	// Queue is how many may wait; 0 for none.
	Queue int
	// Timeout is for how long, above 0 where there is a queue.
	Timeout time.Duration
}

// Gate lets requests in. Safe for concurrent use. Letting one in takes no lock
// while none waits, and allocates nothing.
type Gate struct {
	config  Config
	learner Learner // nil for a limit that does not change
	reserve reserve

	// What each request writes lies apart from what it only reads.
	_        [64]byte
	inFlight atomic.Int64
	_        [56]byte
	view     view

	limit   atomic.Int64 // the least of the rule's and the ceiling
	probe   atomic.Int64 // how many a probe lets in; 0 for none
	strict  atomic.Bool  // critical ones too
	waiting atomic.Int64

	pressed atomic.Bool  // the ceiling is the least
	asked   atomic.Int64 // when pressure was looked at
	high    atomic.Int64 // the most in flight since, where there is a ceiling to set
	pace    pace

	mu      sync.Mutex // guards what follows
	state   State
	reason  Reason
	ceiling int64 // what pressure leaves; math.MaxInt64 for all
	lines   lines
}

// NewGate returns a gate that nothing has gone through.
func NewGate(c Config, now time.Duration) *Gate {
	if len(c.Levels) == 0 {
		c.Levels = []Level{Normal}
	}
	rule := c.Rule
	if f, ok := rule.(Factory); ok {
		rule = f.New()
	}
	g := &Gate{config: c, state: rule.Start(), ceiling: math.MaxInt64}
	if g.config.Counts == nil {
		g.config.Counts = new(Counts)
	}
	g.reserve.of(c.Levels)
	g.learner, _ = rule.(Learner)
	g.lines.patience(c.Timeout)
	g.view.begin(now, &g.state, 0)
	g.apply()
	return g
}

// Ticket is what a request that was let in gives back. It is for one goroutine.
type Ticket struct {
	gate   *Gate
	start  time.Duration
	probed uint32 // the window of the probe that it is measured by, or 0
}

// Admit lets a request in, or says why not.
func (g *Gate) Admit(now time.Duration, l Level) (Ticket, Cause) {
	cause := CauseLimit
	if g.waiting.Load() == 0 { // else its turn is after theirs: see Wait
		var t Ticket
		if t, cause = g.admit(now, l); cause == "" {
			return t, ""
		}
	}
	g.reserve.refused(now, g.limit.Load(), l)
	if g.learner != nil {
		g.view.refuse(l)
	}
	return Ticket{}, cause
}

func (g *Gate) admit(now time.Duration, l Level) (Ticket, Cause) {
	for {
		n := g.inFlight.Load()
		if cause := g.full(n, l); cause != "" {
			return Ticket{}, cause
		}
		if g.inFlight.CompareAndSwap(n, n+1) {
			if g.config.Pressure {
				raise(&g.high, n+1)
			}
			t := Ticket{gate: g, start: now}
			if g.learner != nil {
				t.probed = g.view.enter(now, n+1)
			}
			return t, ""
		}
	}
}

// full returns why one more is not let in where n are in flight, or "".
func (g *Gate) full(n int64, l Level) Cause {
	room := g.reserve.room(g.limit.Load(), g.learner != nil, l)
	if p := g.probe.Load(); p > 0 && p < room && (l != Critical || g.strict.Load()) {
		room = p
	}
	switch {
	case n < room:
		return ""
	case g.config.Slope > 0 && weakrand.Float64() < math.Exp(-g.config.Slope*float64(n-room)):
		return ""
	}
	if g.pressed.Load() {
		return CausePressure
	}
	return CauseLimit
}

// Outcome is what became of a request that was let in.
type Outcome int

// The outcomes.
const (
	// Void says nothing of how busy those behind are: they could not be reached,
	// or failed at once.
	Void Outcome = iota
	// Answered: there was an answer, just now.
	Answered
	// Late: the time in which there should have been one is over, or the client
	// has left.
	Late
	// Turned: those behind had no room for it.
	Turned
)

// Leave gives back what Admit gave, once.
func (t Ticket) Leave(now time.Duration, o Outcome) {
	g := t.gate
	g.inFlight.Add(-1)
	if g.learner != nil {
		g.view.leave(t, now, o)
		if g.view.due(now) && g.mu.TryLock() {
			g.look(now)
			g.mu.Unlock()
		}
	}
	g.pace.left.Add(1)
	if g.waiting.Load() > 0 {
		g.mu.Lock()
		g.dispatch(now)
		g.mu.Unlock()
	}
}

// look has the rule decide on what was seen. The caller holds g.mu.
func (g *Gate) look(now time.Duration) {
	if !g.view.due(now) {
		return // another was faster
	}
	w := g.view.window(now)
	g.state, g.reason = g.learner.Next(g.state, w)
	g.config.Counts.decide(g.reason)
	g.view.begin(now, &g.state, g.inFlight.Load())
	g.apply()
	g.dispatch(now)
}

// apply has the state take effect. The caller holds g.mu.
func (g *Gate) apply() {
	limit := int64(g.state.Limit)
	g.limit.Store(max(1, min(limit, g.ceiling)))
	g.pressed.Store(g.ceiling < limit)
	g.strict.Store(g.state.Strict)
	g.probe.Store(int64(math.Ceil(g.state.Probe)))
}

// Pass counts that a request was let in.
func (g *Gate) Pass(l Level, waited bool) { g.config.Counts.Admitted(l, waited) }

// Refuse counts that a request was refused for good.
func (g *Gate) Refuse(l Level, cause Cause) {
	g.config.Counts.Refused(l, cause)
	g.pace.turned.Add(1)
}

// InFlight returns the number of requests that were let in and have not left.
func (g *Gate) InFlight() int { return int(g.inFlight.Load()) }

// Learns reports whether requests count until they are answered, rather than
// until they are over.
func (g *Gate) Learns() bool { return g.learner != nil }

// MeasuresBase reports whether the state has a base.
func (g *Gate) MeasuresBase() bool {
	_, own := g.config.Rule.(Factory)
	return g.learner != nil && !own
}

// Since moves the time from which on an answer is waited for.
func (t *Ticket) Since(now time.Duration) { t.start = max(t.start, now) }

// Waiting returns the number of requests that wait.
func (g *Gate) Waiting() int { return int(g.waiting.Load()) }

// Limit returns how many may be in flight now.
func (g *Gate) Limit() int { return int(g.limit.Load()) }

// State returns what the rule goes on with, and why it has last decided so.
func (g *Gate) State() (State, Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state, g.reason
}
