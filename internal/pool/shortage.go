// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// shortageEvery is the shortest time between two reports of a shortage.
const shortageEvery = time.Minute

// shortage counts failures for lack of a resource of this process or machine. All pools share it,
// over reloads, so that it is reported once. Safe for concurrent use.
type shortage struct {
	mu         sync.Mutex
	times      int64 // since the last report
	latest     error
	reportedAt time.Duration
	reported   bool // reportedAt is set
}

type shortageKey struct{}

func sharedShortage(l *shared.Refs) *shortage {
	return shared.LoadOrNew(l, shortageKey{}, func() *shortage { return new(shortage) })
}

// RecordShortage implements [backend.Owner]. It counts an attempt or a probe that failed because this machine lacked a resource
// for the connection.
func (p *Pool) RecordShortage(err error) {
	s := p.shortage
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	s.latest = err
}

// TakeShortage returns the number of such failures and the latest error, and resets both. It
// returns 0 if the last report is less than a minute ago. The caller must report the result.
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
