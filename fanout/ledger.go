// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"sync"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// ledger is what is counted of one handler, and what it has in hand. It outlives the
// configuration. Safe for concurrent use.
type ledger struct {
	inFlight atomic.Int64 // fan-outs
	bytes    atomic.Int64 // of their bodies
	ended    [verdicts]atomic.Int64
	refused  [len(refusals)]atomic.Int64

	mu       sync.Mutex // guards what follows
	backends map[string]*tally
}

// tally counts the tries of one backend.
type tally struct {
	tries, retries, successes, failures atomic.Int64
}

// Reasons why a request is refused before it is sent to anybody.
const (
	reasonBusy   = "busy"
	reasonBody   = "body_too_large"
	reasonSlow   = "body_timeout"
	reasonBroken = "body_broken"
)

var refusals = [...]string{
	reasonBusy, reasonBody, reasonSlow, reasonBroken, reasonTooFew,
	string(backend.ReasonEmpty), string(backend.ReasonDown), string(backend.ReasonMaintenance),
}

func newLedger() *ledger { return &ledger{backends: make(map[string]*tally)} }

// tally returns the counts of a backend. They go by its address, since another may
// have its id after a reload.
func (l *ledger) tally(b *backend.Backend) *tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.backends[b.Address]
	if t == nil {
		t = new(tally)
		l.backends[b.Address] = t
	}
	return t
}

// keep bounds how many backends are remembered that are no members any more.
const keep = 1000

// forget forgets the backends that have left, once they are many.
func (l *ledger) forget(members *backend.Members) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.backends) < len(members.All)+keep {
		return
	}
	for address := range l.backends {
		if members.Find(address) == nil {
			delete(l.backends, address)
		}
	}
}

// refuse counts a refusal.
func (l *ledger) refuse(reason string) {
	for i, known := range refusals {
		if known == reason {
			l.refused[i].Add(1)
		}
	}
}

// enter takes room for a fan-out and the bytes of its body, and reports false if
// there is none.
func (l *ledger) enter(requests int, most, bytes int64) bool {
	if l.inFlight.Add(1) > int64(requests) {
		l.inFlight.Add(-1)
		return false
	}
	if l.bytes.Add(bytes) > most {
		l.leave(bytes)
		return false
	}
	return true
}

// leave gives back what enter has taken.
func (l *ledger) leave(bytes int64) {
	l.bytes.Add(-bytes)
	l.inFlight.Add(-1)
}
