// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Outcome is the class of a request's result.
type Outcome int

// The outcomes.
const (
	// Answered in time.
	Answered Outcome = iota
	// Refused with a status of [Target.Refusals].
	Refused
	// TimedOut in the client.
	TimedOut
	// Failed in any other way.
	Failed
	outcomes
)

// String returns a word for tables.
func (o Outcome) String() string {
	return [outcomes]string{"answered", "refused", "timed out", "failed"}[o]
}

// Result is the result of a run, or of a part of one. It is for one goroutine.
type Result struct {
	// Length is the time for which requests were sent.
	Length time.Duration
	// Unsent and Late count the requests that the generator could not send, or not within 10 ms of when
	// they were due.
	Unsent, Late int
	// Sent counts all requests that were sent, including the warm-up.
	Sent int
	// Servers counts the answers by known backend, and Statuses the responses by status.
	Servers  map[string]int
	Statuses map[int]int
	// Seconds are the same counts by the second in which requests were due.
	Seconds []*Second

	counts           [outcomes]int
	latency, service *hdrhistogram.Histogram // of answered requests, in microseconds
}

// Second is the result of the requests that were due in one second.
type Second struct {
	Unsent  int
	counts  [outcomes]int
	latency *hdrhistogram.Histogram
}

// NewResult returns an empty result.
func NewResult() *Result {
	return &Result{
		Servers: make(map[string]int), Statuses: make(map[int]int),
		latency: hdrhistogram.New(1, time.Hour.Microseconds(), 3),
		service: hdrhistogram.New(1, time.Hour.Microseconds(), 3),
	}
}

func (r *Result) add(s Sample, late bool) {
	r.counts[s.Outcome]++
	if late {
		r.Late++
	}
	if s.Status != 0 {
		r.Statuses[s.Status]++
	}
	second := r.second(s.At)
	second.counts[s.Outcome]++
	if s.Outcome != Answered {
		return
	}
	if s.Server != "" {
		r.Servers[s.Server]++
	}
	record(r.latency, s.Latency)
	record(r.service, s.ServiceTime)
	record(second.latency, s.Latency)
}

func (r *Result) addUnsent(at time.Duration) {
	r.Unsent++
	r.second(at).Unsent++
}

// second returns the result of the second at a time.
func (r *Result) second(at time.Duration) *Second {
	i := int(at / time.Second)
	for len(r.Seconds) <= i {
		r.Seconds = append(r.Seconds, &Second{latency: hdrhistogram.New(1, 10*time.Minute.Microseconds(), 2)})
	}
	return r.Seconds[i]
}

// record ignores values beyond the range of h, which exceed any timeout.
func record(h *hdrhistogram.Histogram, d time.Duration) { _ = h.RecordValue(max(1, d.Microseconds())) }

// Merge adds the requests of another run. Seconds are added one by one.
func (r *Result) Merge(other *Result) {
	r.Length += other.Length
	r.Unsent += other.Unsent
	r.Late += other.Late
	r.Sent += other.Sent
	for o, n := range other.counts {
		r.counts[o] += n
	}
	for server, n := range other.Servers {
		r.Servers[server] += n
	}
	for status, n := range other.Statuses {
		r.Statuses[status] += n
	}
	r.latency.Merge(other.latency)
	r.service.Merge(other.service)
	for i, s := range other.Seconds {
		own := r.second(time.Duration(i) * time.Second)
		own.Unsent += s.Unsent
		for o, n := range s.counts {
			own.counts[o] += n
		}
		own.latency.Merge(s.latency)
	}
}

// Count returns how many requests had an outcome.
func (r *Result) Count(o Outcome) int { return r.counts[o] }

// Count returns how many requests had an outcome.
func (s *Second) Count(o Outcome) int { return s.counts[o] }

// Due returns the number of due requests.
func (r *Result) Due() int {
	sum := r.Unsent
	for _, n := range r.counts {
		sum += n
	}
	return sum
}

// Rate returns a number of requests as a rate per second.
func (r *Result) Rate(n int) float64 { return float64(n) / max(r.Length.Seconds(), 1e-9) }

// Latency returns a quantile, from 0 to 1, of the time from when a request was due to its answer; 0
// without answers.
func (r *Result) Latency(q float64) time.Duration { return quantile(r.latency, q) }

// ServiceTime returns a quantile of the time from when a request was sent to its answer, for
// comparisons with tools that measure it.
func (r *Result) ServiceTime(q float64) time.Duration { return quantile(r.service, q) }

// Latency returns a quantile of the second's latencies, as [Result.Latency] does.
func (s *Second) Latency(q float64) time.Duration { return quantile(s.latency, q) }

func quantile(h *hdrhistogram.Histogram, q float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(100*q)) * time.Microsecond
}
