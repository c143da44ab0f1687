// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// shortageEvery is how often a shortage is told of at most.
const shortageEvery = time.Minute

// shortage is what this process has lacked. All pools share it, over reloads, so
// that it is told of once. Safe for concurrent use.
type shortage struct {
	mu         sync.Mutex
	times      int64 // since it was last told of
	latest     error
	reportedAt time.Duration
	reported   bool // told of
}

type shortageKey struct{}

func sharedShortage(l *shared.Refs) *shortage {
	return shared.LoadOrNew(l, shortageKey{}, func() *shortage { return new(shortage) })
}

// RecordShortage notes that an attempt, or a probe, failed because this machine lacked what a
// connection needs.
func (p *Pool) RecordShortage(err error) {
	s := p.shortage
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	s.latest = err
}

// TakeShortage returns how often that happened, and the latest error, if it is time to
// tell of it. Whoever asks has to: the count begins again.
func (p *Pool) TakeShortage(now time.Duration) (times int64, latest error) {
	s := p.shortage
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == 0 || s.reported && now-s.reportedAt < shortageEvery {
		return 0, nil
	}
	times, latest = s.times, s.latest
	s.times, s.latest, s.reportedAt, s.reported = 0, nil, now, true
	return times, latest
}
