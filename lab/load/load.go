// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package load sends requests on a schedule, whether or not those before were
// answered, as clients do that know nothing of each other. A generator that waits
// for answers sends less while they are late, and hides that they are.
package load

import (
	"context"
	"sync"
	"time"
)

// Config is what to send.
type Config struct {
	// Schedule says when.
	Schedule Schedule
	// Warm is for how long requests are sent before they count, and Length for how
	// long they count.
	Warm, Length time.Duration
	// Limit is how long a client waits from when its request was due.
	Limit time.Duration
	// Cap is how many may be on their way at a time. Those beyond are not sent, and
	// counted as such: nothing but a generator at its own limits meets it.
	Cap int
	// Do sends one and says what became of it. It returns when ctx has ended.
	Do func(ctx context.Context) Outcome
}

// lateBy is how late a request may be sent before it is counted as late. Its latency
// is taken from when it was due in any case.
const lateBy = 10 * time.Millisecond

// Run sends them, and returns when all have ended.
func Run(c Config) *Result {
	result := NewResult()
	result.Length = c.Length
	var mu sync.Mutex // guards result
	var all sync.WaitGroup
	began, slots := time.Now(), make(chan struct{}, c.Cap)
	for next := c.Schedule(); next < c.Warm+c.Length; next += c.Schedule() {
		due := began.Add(next)
		time.Sleep(time.Until(due))
		counts := next >= c.Warm
		select {
		case slots <- struct{}{}:
		default:
			if counts {
				mu.Lock()
				result.Unsent++
				mu.Unlock()
			}
			continue
		}
		all.Go(func() {
			late := time.Since(due) > lateBy
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(c.Limit))
			outcome := c.Do(ctx)
			cancel()
			<-slots
			if !counts {
				return
			}
			took := time.Since(due)
			if outcome == Answered && took > c.Limit {
				outcome = TimedOut
			}
			mu.Lock()
			defer mu.Unlock()
			result.add(outcome, took, late)
		})
	}
	all.Wait()
	return result
}
