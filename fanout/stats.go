// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"sync"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// handlerStats is what is counted of one handler, and what it has in hand. It outlives the
// configuration. Safe for concurrent use.
type handlerStats struct {
	inFlight atomic.Int64 // fan-outs
	bytes    atomic.Int64 // of their bodies
	ended    [results]atomic.Int64
	refused  [len(refusals)]atomic.Int64

	mu       sync.Mutex // guards what follows
	backends map[string]*backendStats
}

// backendStats counts the tries of one backend.
type backendStats struct {
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

func newHandlerStats() *handlerStats { return &handlerStats{backends: make(map[string]*backendStats)} }

// backend returns the counts of a backend. They go by its address, since another may
// have its id after a reload.
func (l *handlerStats) backend(b *backend.Backend) *backendStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.backends[b.Address]
	if t == nil {
		t = new(backendStats)
		l.backends[b.Address] = t
	}
	return t
}

// maxDeparted bounds how many backends are remembered that are no members any more.
const maxDeparted = 1000

// prune forgets the backends that have left, once they are many.
func (l *handlerStats) prune(members *backend.Members) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.backends) < len(members.All)+maxDeparted {
		return
	}
	for address := range l.backends {
		if members.Find(address) == nil {
			delete(l.backends, address)
		}
	}
}

// refuse counts a refusal.
func (l *handlerStats) refuse(reason string) {
	for i, known := range refusals {
		if known == reason {
			l.refused[i].Add(1)
		}
	}
}

// acquire takes room for a fan-out and the bytes of its body, and reports false if
// there is none.
func (l *handlerStats) acquire(requests int, most, bytes int64) bool {
	if l.inFlight.Add(1) > int64(requests) {
		l.inFlight.Add(-1)
		return false
	}
	if l.bytes.Add(bytes) > most {
		l.release(bytes)
		return false
	}
	return true
}

// release gives back what enter has taken.
func (l *handlerStats) release(bytes int64) {
	l.bytes.Add(-bytes)
	l.inFlight.Add(-1)
}
