// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package loadgen generates load.
//
// An open loop sends requests on a schedule, whether or not earlier ones were answered, like
// independent clients. Latency is measured from the time when a request was due. A generator that
// waits for answers sends less while they are late, and hides their latency (coordinated omission).
//
// A closed loop has a number of clients that send their next request after the answer to the last.
// Its throughput and its latency depend on each other; use it for comparisons with closed-loop
// tools.
package loadgen

import (
	"context"
	"sync"
	"time"
)

// Config describes a run. Exactly one of Schedule and Clients is set.
type Config struct {
	// Schedule is the schedule of an open loop.
	Schedule Schedule
	// Clients is the number of clients of a closed loop, and Think the time that each waits after
	// an answer.
	Clients int
	Think   time.Duration
	// WarmUp is the time for which requests are sent before they count, and Length the time for
	// which they count.
	WarmUp, Length time.Duration
	// Timeout is the longest time from when a request was due to its answer. Default 10s.
	Timeout time.Duration
	// MaxInFlight bounds the requests in flight of an open loop. Further ones are not sent, and
	// count as unsent. Only an overloaded generator reaches it. Default 10,000.
	MaxInFlight int
	// Do sends one request and returns its result. It must return at the deadline of ctx. It is
	// called concurrently.
	Do func(ctx context.Context, r Request) Reply
	// Each is called at the end of each request that counts, one call at a time. Optional.
	Each func(Sample)
	// Progress is called each second, one call at a time. Optional.
	Progress func(Progress)
}

// Request identifies one request of a run.
type Request struct {
	// Number is the number of the request, from 0, in an open loop or of one client.
	Number int
	// Client is the client of a closed loop, from 0.
	Client int
}

// Reply is the result of one request.
type Reply struct {
	Outcome Outcome
	// Status is the status of the response; 0 without one.
	Status int
	// Server is the name of the backend that answered, "" if unknown.
	Server string
}

// Sample is one request of a run, with its result.
type Sample struct {
	Request
	Reply
	// At is the time when the request was due, from the end of the warm-up.
	At time.Duration
	// Latency is the time to its end since it was due, and ServiceTime since it was sent.
	Latency, ServiceTime time.Duration
}

// Progress is the state of a run.
type Progress struct {
	// Elapsed is the time since the start, including the warm-up.
	Elapsed time.Duration
	// InFlight is the number of requests in flight.
	InFlight int
	// Recent is the result of the requests that ended since the last call. The callee may keep it.
	Recent *Result
}

// lateBy is the delay above which a request counts as sent late. Its latency includes the delay in
// any case.
const lateBy = 10 * time.Millisecond

// run is a run under way.
type run struct {
	Config
	began time.Time

	mu       sync.Mutex // guards the rest
	result   *Result
	recent   *Result
	inFlight int
}

// Run sends requests until the schedule, the length or ctx has ended, and returns when all that were
// sent have ended.
func Run(ctx context.Context, c Config) *Result {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 10_000
	}
	r := &run{Config: c, began: time.Now(), result: NewResult(), recent: NewResult()}
	r.result.Length = c.Length
	stop := r.report()
	defer stop()
	if c.Clients > 0 {
		r.closed(ctx)
	} else {
		r.open(ctx)
	}
	if ctx.Err() != nil {
		r.result.Length = min(c.Length, max(time.Since(r.began)-c.WarmUp, 0))
	}
	return r.result
}

// open sends each request when it is due.
func (r *run) open(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, r.MaxInFlight)
	var next time.Duration
	for n := 0; ; n++ {
		gap := r.Schedule()
		if next += gap; gap < 0 || next >= r.WarmUp+r.Length || !sleep(ctx, time.Until(r.began.Add(next))) {
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			r.unsent(next)
			continue
		}
		due := next
		all.Go(func() {
			r.send(due, Request{Number: n})
			<-slots
		})
	}
}

// closed sends the requests of all clients. They begin within one think time, in equal steps.
func (r *run) closed(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for client := range r.Clients {
		all.Go(func() {
			pause := r.Think * time.Duration(client) / time.Duration(r.Clients)
			for n := 0; sleep(ctx, pause); n++ {
				due := time.Since(r.began)
				if due >= r.WarmUp+r.Length {
					return
				}
				r.send(due, Request{Number: n, Client: client})
				pause = r.Think
			}
		})
	}
}

// sleep returns false if ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil || d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// send sends one request that is due or overdue.
func (r *run) send(due time.Duration, request Request) {
	r.mu.Lock()
	r.inFlight++
	r.mu.Unlock()
	at := r.began.Add(due)
	sent := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), at.Add(r.Timeout))
	reply := r.Do(ctx, request)
	cancel()
	s := Sample{Request: request, Reply: reply, At: due - r.WarmUp, Latency: time.Since(at), ServiceTime: time.Since(sent)}
	if s.Outcome == Answered && s.Latency > r.Timeout {
		s.Outcome = TimedOut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	r.result.Sent++
	late := sent.Sub(at) > lateBy
	if r.Progress != nil {
		recent := s
		recent.At = 0 // recent results are not divided into seconds
		r.recent.add(recent, late)
	}
	if s.At < 0 {
		return
	}
	r.result.add(s, late)
	if r.Each != nil {
		r.Each(s)
	}
}

func (r *run) unsent(due time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.Unsent++
	if at := due - r.WarmUp; at >= 0 {
		r.result.addUnsent(at)
	}
}

// report calls Progress each second, until the function that it returns is called.
func (r *run) report() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			r.mu.Lock()
			p := Progress{Elapsed: time.Since(r.began), InFlight: r.inFlight, Recent: r.recent}
			p.Recent.Length = time.Second
			r.recent = NewResult()
			r.mu.Unlock()
			r.Progress(p)
		}
	}()
	return func() { close(quit); <-done }
}
