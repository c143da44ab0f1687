// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package latency

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

const (
	// Penalty is added to the latency of a backend if all its attempts fail, so that a backend that
	// fails fast does not count as fast (Linkerd's load biaser).
	Penalty = 5 * time.Second
	// MinBackoff and MaxBackoff bound the time after which a failing backend is tried again.
	MinBackoff, MaxBackoff = time.Second, 30 * time.Second
	// MaxRetryAfter limits the time that Retry-After sets instead.
	MaxRetryAfter = 300 * time.Second
)

// Failures tracks the failed attempts on a backend: the share of failures among the latest
// attempts, and how long clients waited without an answer. Both count until a backoff ends. Then
// one request is the trial: until it begins, the backend counts as healthy, and afterwards as
// failing again. A success ends the backoff; another failure doubles it. The zero value has no
// failures. Safe for concurrent use.
type Failures struct {
	share EWMA          // 1 for each failure, 0 for each success
	until atomic.Int64  // end of the backoff, as of clock.Now; odd if a trial has begun
	waits atomic.Uint64 // see packWaits
}

// packWaits packs the length of the backoff, in milliseconds, and the latency estimated from the
// waits of clients, 0 for none, in microseconds.
func packWaits(backoff, latency time.Duration) uint64 {
	return uint64(backoff/time.Millisecond) | uint64(latency/time.Microsecond)<<backoffBits
}

func unpackWaits(word uint64) (backoff, latency time.Duration) {
	return time.Duration(word&(1<<backoffBits-1)) * time.Millisecond, time.Duration(word>>backoffBits) * time.Microsecond
}

const backoffBits = 16

const (
	// least is the share below which a backend counts as not failing.
	least = 0.02
	// leastSample is the least weight of a sample, so that the first failure of a busy backend is
	// significant.
	leastSample = 1. / 16
)

// Failing returns the share of the latest attempts that failed, or were answered with 429 or 5xx; 0
// below 2 %, and if a trial is due.
func (f *Failures) Failing() float64 {
	share, _, _ := unpack(f.share.word.Load())
	if share < least || clock.Now() >= time.Duration(f.until.Load()) {
		return 0
	}
	return float64(share)
}

// FailingShare is as Failing, but does not depend on the backoff.
func (f *Failures) FailingShare() float64 {
	share, _, _ := unpack(f.share.word.Load())
	return float64(share)
}

// Penalty returns the latency, in nanoseconds, to add to that of the backend: a share of [Penalty]
// for its failures, and the latency estimated from the waits of clients.
func (f *Failures) Penalty() float64 {
	share, _, _ := unpack(f.share.word.Load())
	_, atLeast := unpackWaits(f.waits.Load())
	if share < least && atLeast == 0 || clock.Now() >= time.Duration(f.until.Load()) {
		return 0
	}
	return float64(share)*float64(Penalty) + float64(atLeast)
}

// ObserveSuccess records that an attempt succeeded. It ends a trial.
func (f *Failures) ObserveSuccess(now time.Duration) {
	if f.share.word.Load() != 0 {
		f.observe(now, 0)
	}
	if until := f.until.Load(); until&1 == 1 {
		f.until.CompareAndSwap(until, int64(now)&^1)
	}
	for word := f.waits.Load(); word>>backoffBits != 0; word = f.waits.Load() {
		f.waits.CompareAndSwap(word, word&(1<<backoffBits-1))
	}
}

// ObserveFailure records that an attempt failed. retryAfter is the time of the Retry-After of the
// response; 0 for none.
func (f *Failures) ObserveFailure(now, retryAfter time.Duration) {
	if retryAfter > 0 {
		f.share.word.Store(pack(1, ticksAt(now), 1))
		f.extend(now + min(retryAfter, MaxRetryAfter))
		return
	}
	f.observe(now, 1)
	f.backOff(now, 0)
}

// observeWait records that an attempt would have taken longer than d. The true time is unknown; 2*d
// is the estimate with the least error factor in both directions.
func (f *Failures) observeWait(now, d time.Duration) { f.backOff(now, 2*d) }

// backOff begins a backoff, unless there is one without a trial. A latency above 0 is the estimate
// from the waits of clients.
func (f *Failures) backOff(now, latency time.Duration) {
	for {
		until, word := f.until.Load(), f.waits.Load()
		wait, atLeast := unpackWaits(word)
		atLeast = max(atLeast, min(latency, MaxRetryAfter))
		switch {
		case until == 0 || now-time.Duration(until) >= wait:
			wait = MinBackoff
		case now >= time.Duration(until) || until&1 == 1:
			wait = min(2*wait, MaxBackoff)
		default:
			if f.waits.CompareAndSwap(word, packWaits(wait, atLeast)) {
				return
			}
			continue
		}
		if f.until.CompareAndSwap(until, int64(now+wait)&^1) {
			f.waits.Store(packWaits(wait, atLeast))
			return
		}
	}
}

// extend extends the backoff until end, if that is later.
func (f *Failures) extend(end time.Duration) {
	for {
		until := f.until.Load()
		if until&^1 >= int64(end)&^1 && until&1 == 0 || f.until.CompareAndSwap(until, int64(end)&^1) {
			return
		}
	}
}

// begin records that an attempt begins: the trial, if the backoff has ended. If the trial has no
// outcome within another backoff, the next attempt is a trial, too.
func (f *Failures) begin(now time.Duration) {
	if until := f.until.Load(); until != 0 && now >= time.Duration(until) {
		wait, atLeast := unpackWaits(f.waits.Load())
		if atLeast == 0 && f.FailingShare() < least {
			return
		}
		f.until.CompareAndSwap(until, int64(now+max(wait, MinBackoff))|1)
	}
}

// Forgive resets all failures.
func (f *Failures) Forgive() {
	f.share.reset()
	f.waits.Store(0)
	f.until.Store(0)
}

// observe adds a sample to the share. A new sample replaces a share that is older than the
// averaging time.
func (f *Failures) observe(now time.Duration, sample float32) {
	f.share.update(now, sample, func(old float32, fade float64, _ uint64) float32 {
		alpha := max(1-fade, leastSample)
		if fade <= 1/math.E {
			alpha = 1
		}
		return old + float32(alpha)*(sample-old)
	}, Averaging)
}
