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
	// every is the time between two readings. The kernel renews what it says of
	// stalls every 2 s.
	every = 250 * time.Millisecond
	// window is over how long CPU is averaged, exponentially, so that one spike is
	// no overload; before that much has been seen, there is no value.
	window = time.Second
)

// process is the sampler of all configurations.
var process = NewSampler(func(s Signal) (Source, error) { return Open("/", s) })

// Subscribe has the process read a signal every 250 ms until the subscription is
// closed. Subscriptions share the readings, over reloads too. The error wraps
// [ErrUnsupported] if the signal is not available here.
func Subscribe(signal Signal) (*Subscription, error) { return process.Subscribe(signal) }

// Sampler reads the signals that are subscribed to. Between readings, and without
// subscriptions, no goroutine exists. Safe for concurrent use.
type Sampler struct {
	worker periodic.Task[*Subscription]
	open   func(Signal) (Source, error)

	// turn is whose turn it is to come or to go, so that the worker's last step has
	// ended before there is a first one again. It is taken before mu.
	turn sync.Mutex

	mu     sync.Mutex        // guards what follows, and the gauges but for latest
	gauges map[Signal]*gauge // those that are in use
}

// gauge is what is known of a signal.
type gauge struct {
	users   int
	source  Source        // nil after it failed
	at      time.Time     // of the latest value
	seen    time.Duration // how much the average is of; 0 for none
	average float64
	latest  atomic.Pointer[sample]
}

// sample is a reading, as it is told.
type sample struct {
	value float64
	ok    bool
	err   error
}

// Subscription is one user's access to a signal. Safe for concurrent use.
type Subscription struct {
	sampler *Sampler
	signal  Signal
	gauge   *gauge
	closed  atomic.Bool
}

// NewSampler returns a sampler of sources that open returns. It opens one when a
// signal gets its first subscription, and again after a reading has failed.
func NewSampler(open func(Signal) (Source, error)) *Sampler {
	s := &Sampler{open: open, gauges: make(map[Signal]*gauge)}
	interval := func(*Subscription) time.Duration { return every }
	s.worker.Run, s.worker.Interval, s.worker.First = s.step, interval, interval
	return s
}

// Subscribe has a signal read until the subscription is closed.
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

// use returns the gauge of a signal, for one more user.
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

// Value returns the latest value, from 0 to 1, or false while there is none: in
// the first second of CPU, and while the signal cannot be read. It costs one
// atomic load.
func (u *Subscription) Value() (value float64, ok bool) {
	latest := u.gauge.latest.Load()
	return latest.value, latest.ok
}

// Err returns why the signal could not be read the last time, or nil if it could.
func (u *Subscription) Err() error { return u.gauge.latest.Load().err }

// Close ends the subscription. With the last one the readings end. It may be
// called again.
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

// step reads every signal once.
func (s *Sampler) step(context.Context, *Subscription) (afterwards func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for signal, g := range s.gauges {
		g.sample(s.open, signal)
	}
	return nil
}

// sample reads the signal.
func (g *gauge) sample(open func(Signal) (Source, error), signal Signal) {
	latest := new(sample)
	defer g.latest.Store(latest)
	if g.source == nil { // its files may be elsewhere now
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

// smooth replaces a value by the average. A gap begins it anew.
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
	// A plain mean at first, so that the first value does not weigh more.
	weight := max(1-math.Exp(-passed.Seconds()/window.Seconds()), passed.Seconds()/max(g.seen, 1).Seconds())
	g.average += weight * (latest.value - g.average)
	latest.value, latest.ok = g.average, g.seen >= window
	if !latest.ok {
		latest.value = 0
	}
}
