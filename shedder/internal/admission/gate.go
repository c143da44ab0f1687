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

// Rule decides how many requests may be in flight.
type Rule interface {
	// Start returns the initial state.
	Start() State
}

// Learner is a rule that adapts the limit to what it measures. With it, a request counts as in
// flight until its response begins; with other rules, until its response ends.
type Learner interface {
	Rule
	// Next returns the state that follows from a window, and the reason. It depends on its
	// arguments only.
	Next(State, Window) (State, Reason)
}

// Factory is a rule that creates a rule for each gate, because it has state besides [State].
// It measures no base.
type Factory interface {
	Rule
	// New returns the rule of a gate.
	New() Rule
}

// Config configures a [Gate].
type Config struct {
	// Rule decides how many requests may be in flight.
	Rule Rule
	// Slope, if above 0, makes refusal beyond the limit random, with the probability 1 -
	// exp(-Slope x (in flight - limit)).
	Slope float64
	// Levels are the levels in use. Default: Normal.
	Levels []Level
	// Pressure reports that Press will be called.
	Pressure bool
	// Counts receives the counts. Default: new ones.
	Counts *Counts
	// Queue is the maximum number of waiting requests; 0 for no queue.
	Queue int
	// Timeout is the longest wait in the queue. It must be above 0 if there is a queue.
	Timeout time.Duration
}

// Gate admits requests up to a limit. Safe for concurrent use. An admission takes no lock
// while no request waits, and allocates nothing.
type Gate struct {
	config  Config
	learner Learner // nil for a fixed limit
	reserve reserve

	// Padding separates the fields that each request writes from those that it only reads.
	_        [64]byte
	inFlight atomic.Int64
	_        [56]byte
	window   sampleWindow

	limit   atomic.Int64 // the lower of the rule's limit and the ceiling
	probe   atomic.Int64 // the limit during a probe; 0 for no probe
	strict  atomic.Bool  // the probe also limits critical requests
	waiting atomic.Int64

	pressed           atomic.Bool  // the ceiling is below the rule's limit
	pressureCheckedAt atomic.Int64 // time of the last pressure check
	high              atomic.Int64 // the highest number in flight since that check; only with Config.Pressure
	departures        departureRate

	mu      sync.Mutex // guards the fields below
	state   State
	reason  Reason
	ceiling int64 // the limit under pressure; math.MaxInt64 for none
	queues  levelQueues
}

// NewGate returns a gate without requests.
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
	g.queues.setTimeout(c.Timeout)
	g.window.begin(now, &g.state, 0)
	g.apply()
	return g
}

// Ticket is the admission of one request, until Leave. It is for one goroutine.
type Ticket struct {
	gate   *Gate
	start  time.Duration
	probed uint32 // number of the window whose probe measures this request; 0 for none
}

// Admit admits a request, or returns the cause of its refusal.
func (g *Gate) Admit(now time.Duration, l Level) (Ticket, Cause) {
	cause := CauseLimit
	if g.waiting.Load() == 0 { // otherwise waiting requests are admitted first: see Wait
		var t Ticket
		if t, cause = g.admit(now, l); cause == "" {
			return t, ""
		}
	}
	g.reserve.refused(now, g.limit.Load(), l)
	if g.learner != nil {
		g.window.refuse(l)
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
				t.probed = g.window.enter(now, n+1)
			}
			return t, ""
		}
	}
}

// full returns the cause for refusing one more request while n are in flight, or "".
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

// Outcome is the result of an admitted request.
type Outcome int

// The outcomes.
const (
	// NoSignal is no sample of the load: the backends could not be reached, or failed at once.
	NoSignal Outcome = iota
	// Answered: the response has just begun.
	Answered
	// TimedOut: a timeout has expired, or the client has left, before a response.
	TimedOut
	// Rejected: the backends refused the request for lack of capacity.
	Rejected
)

// Leave ends the admission. It must be called once.
func (t Ticket) Leave(now time.Duration, o Outcome) {
	g := t.gate
	g.inFlight.Add(-1)
	if g.learner != nil {
		g.window.leave(t, now, o)
		if g.window.due(now) && g.mu.TryLock() {
			g.evaluate(now)
			g.mu.Unlock()
		}
	}
	g.departures.left.Add(1)
	if g.waiting.Load() > 0 {
		g.mu.Lock()
		g.dispatch(now)
		g.mu.Unlock()
	}
}

// evaluate applies the rule to the window that has ended. The caller must hold g.mu.
func (g *Gate) evaluate(now time.Duration) {
	if !g.window.due(now) {
		return // another goroutine has evaluated the window
	}
	w := g.window.result(now)
	g.state, g.reason = g.learner.Next(g.state, w)
	g.config.Counts.decide(g.reason)
	g.window.begin(now, &g.state, g.inFlight.Load())
	g.apply()
	g.dispatch(now)
}

// apply publishes the state to the fields that admissions read. The caller must hold g.mu.
func (g *Gate) apply() {
	limit := int64(g.state.Limit)
	g.limit.Store(max(min(1, limit), min(limit, g.ceiling)))
	g.pressed.Store(g.ceiling < limit)
	g.strict.Store(g.state.Strict)
	g.probe.Store(int64(math.Ceil(g.state.Probe)))
}

// SetLimit replaces the limit of a rule that does not learn. It may be 0, for no requests. Requests
// in flight above it continue.
func (g *Gate) SetLimit(now time.Duration, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Limit = float64(limit)
	g.apply()
	g.dispatch(now)
}

// Pass counts an admitted request.
func (g *Gate) Pass(l Level, waited bool) { g.config.Counts.Admitted(l, waited) }

// Refuse counts a request that is refused for good.
func (g *Gate) Refuse(l Level, cause Cause) {
	g.config.Counts.Refused(l, cause)
	g.departures.refused.Add(1)
}

// InFlight returns the number of admitted requests that have not left.
func (g *Gate) InFlight() int { return int(g.inFlight.Load()) }

// Learns reports whether requests count until their response begins, rather than until it
// ends.
func (g *Gate) Learns() bool { return g.learner != nil }

// MeasuresBase reports whether the rule measures a base.
func (g *Gate) MeasuresBase() bool {
	_, own := g.config.Rule.(Factory)
	return g.learner != nil && !own
}

// Since moves the start of the latency measurement forward to now.
func (t *Ticket) Since(now time.Duration) { t.start = max(t.start, now) }

// Waiting returns the number of requests in the queue.
func (g *Gate) Waiting() int { return int(g.waiting.Load()) }

// Limit returns the current limit of requests in flight.
func (g *Gate) Limit() int { return int(g.limit.Load()) }

// State returns the current state of the rule, and the reason of its latest decision.
func (g *Gate) State() (State, Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state, g.reason
}
