// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package shortage counts failures for lack of a resource of this process or machine, such as
// file descriptors, so that they are reported together and not too often.
package shortage

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// reportEvery is the shortest time between two reports.
const reportEvery = time.Minute

// Counter counts failures since the last report. The zero value is ready. Safe for concurrent use.
type Counter struct {
	mu         sync.Mutex
	times      int64 // since the last report
	latest     error
	reportedAt time.Duration
	reported   bool // reportedAt is set
}

type counterKey struct{}

// Shared returns the counter of this process. All pools share it, over reloads, so that a shortage
// is reported once.
func Shared(l *shared.Refs) *Counter {
	return shared.LoadOrNew(l, counterKey{}, func() *Counter { return new(Counter) })
}

// Record counts a failure.
func (c *Counter) Record(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times++
	c.latest = err
}

// Take returns the number of failures since the last report and the latest error, and resets both.
// It returns 0 if the last report is less than a minute ago. now is as of the monotonic clock. The
// caller must report the result.
func (c *Counter) Take(now time.Duration) (times int64, latest error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == 0 || c.reported && now-c.reportedAt < reportEvery {
		return 0, nil
	}
	times, latest = c.times, c.latest
	c.times, c.latest, c.reportedAt, c.reported = 0, nil, now, true
	return times, latest
}
