// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/periodic"
)

const (
	// every is the interval between readings. The kernel updates its stall averages every 2
	// s.
	every = 250 * time.Millisecond
	// window is the time constant of the exponential average of CPU, which smooths short
	// peaks. There is no value before a full window was measured.
	window = time.Second
)

// process is the sampler of all configurations.
var process = NewSampler(func(s Signal) (Meter, error) { return Open("/", s) })

// Subscribe starts reading a signal every 250 ms, until the subscription is closed.
// Subscriptions share the readings, also over reloads. The error wraps [ErrUnsupported] if
// the signal is not available here.
func Subscribe(signal Signal) (*Subscription, error) { return process.Subscribe(signal) }

// Sampler reads the signals that have subscriptions. It uses no goroutine between readings,
// or without subscriptions. Safe for concurrent use.
type Sampler struct {
	worker periodic.Task[*Subscription]
	open   func(Signal) (Meter, error)

	// turn serializes subscribing and closing, so that the last step of the worker has ended
	// before the first one of a new subscription. Lock it before mu.
	turn sync.Mutex

	mu     sync.Mutex        // guards the fields below, and the gauges except latest
	gauges map[Signal]*gauge // signals with subscriptions
}

// gauge is the state of a signal.
type gauge struct {
	users   int
	source  Meter         // nil after a failed reading
	at      time.Time     // of the latest value
	seen    time.Duration // the time that average covers; 0 for none
	average float64
	latest  atomic.Pointer[sample]
}

// sample is one published value.
type sample struct {
	value float64
	ok    bool
	err   error
}

// Subscription is the access of one user to a signal. Safe for concurrent use.
type Subscription struct {
	sampler *Sampler
	signal  Signal
	gauge   *gauge
	closed  atomic.Bool
}

// NewSampler returns a sampler that opens sources with the given function: when a signal gets
// its first subscription, and again after a failed reading.
func NewSampler(open func(Signal) (Meter, error)) *Sampler {
	s := &Sampler{open: open, gauges: make(map[Signal]*gauge)}
	interval := func(*Subscription) time.Duration { return every }
	s.worker.Run, s.worker.Interval, s.worker.First = s.step, interval, interval
	return s
}

// Subscribe starts reading a signal, until the subscription is closed.
func (s *Sampler) Subscribe(signal Signal) (*Subscription, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	g, err := s.use(signal)
	if err != nil {
		return nil, err
	}
	u := &Subscription{sampler: s, signal: signal, gauge: g}
	s.worker.Start(u)
	return u, nil
}

// use returns the gauge of a signal, and counts one more user.
func (s *Sampler) use(signal Signal) (*gauge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gauges[signal]
	if g == nil {
		source, err := s.open(signal)
		if err != nil {
			return nil, err
		}
		g = &gauge{source: source}
		g.sample(s.open, signal)
		s.gauges[signal] = g
	}
	g.users++
	return g, nil
}

// Value returns the latest value, from 0 to 1. It returns false while there is none: in the
// first second of CPU, and while the signal cannot be read. It costs one atomic load.
func (u *Subscription) Value() (value float64, ok bool) {
	latest := u.gauge.latest.Load()
	return latest.value, latest.ok
}

// Err returns the error of the latest reading, or nil.
func (u *Subscription) Err() error { return u.gauge.latest.Load().err }

// Close ends the subscription; the last one ends the readings. It may be called again.
func (u *Subscription) Close() {
	if u.closed.Swap(true) {
		return
	}
	s := u.sampler
	s.turn.Lock()
	defer s.turn.Unlock()
	s.worker.Stop(u) // waits for a step, which takes the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.gauge.users--; u.gauge.users == 0 {
		u.gauge.latest.Store(new(sample))
		delete(s.gauges, u.signal)
	}
}

// step reads every subscribed signal once.
func (s *Sampler) step(context.Context, *Subscription) (afterwards func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for signal, g := range s.gauges {
		g.sample(s.open, signal)
	}
	return nil
}

// sample reads the signal once.
func (g *gauge) sample(open func(Signal) (Meter, error), signal Signal) {
	latest := new(sample)
	defer g.latest.Store(latest)
	if g.source == nil { // the files may have moved
		if g.source, latest.err = open(signal); latest.err != nil {
			g.source = nil
			return
		}
	}
	latest.value, latest.ok, latest.err = g.source.Read()
	if latest.err != nil {
		g.source = nil
	}
	if signal == CPU {
		g.smooth(latest, time.Now())
	}
}

// smooth replaces a value by the average. A gap restarts the average.
func (g *gauge) smooth(latest *sample, now time.Time) {
	passed := now.Sub(g.at)
	if g.at.IsZero() {
		passed = 0
	}
	g.at = now
	if !latest.ok {
		g.seen, g.average = 0, 0
		return
	}
	g.seen += passed
	// The average starts as an arithmetic mean, so that the first value does not weigh more.
	weight := max(1-math.Exp(-passed.Seconds()/window.Seconds()), passed.Seconds()/max(g.seen, 1).Seconds())
	g.average += weight * (latest.value - g.average)
	latest.value, latest.ok = g.average, g.seen >= window
	if !latest.ok {
		latest.value = 0
	}
}
