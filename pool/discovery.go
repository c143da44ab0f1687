// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

const (
	defaultRefresh = 10 * time.Second
	// sourceRetry replaces the refresh interval until the first answer of a source.
	sourceRetry = time.Second
	// lookupTimeout bounds one lookup.
	lookupTimeout = 5 * time.Second
)

// lookup looks up a source once. It must return when ctx ends.
type lookup func(ctx context.Context) ([]backend.Endpoint, error)

// sourceState looks up one source periodically, or watches it, and keeps its last good answer. All
// pools of the process with this source share it. It is safe for concurrent use.
type sourceState struct {
	periodic.Task[*source]
	firstAnswer chan struct{} // closed after the first answer or failure

	mu       sync.Mutex
	found    []backend.Endpoint
	answered bool
	failing  error             // nil unless the latest answer was an error
	since    time.Time         // when it began to fail, or to work; zero before the first answer
	nameless bool              // some hosts of the last answer were not found
	ignored  map[string]string // what the source has found that is no backend, and why; the map is read-only
}

// source is the use of a discovery by one pool.
type source struct {
	name      string
	group     string           // of the backends; "" for the main group
	look      lookup           // nil for a source that is watched
	watch     discovery.Source // nil for one that is looked up
	refresh   time.Duration
	foreign   bool // a third-party source, not looked up by Ballast
	pool      *Pool
	discovery *sourceState
}

func (s *source) logger() *zap.Logger {
	return s.pool.app.logger.With(zap.String("pool", s.pool.Name), zap.String("source", s.name))
}

// discoveryKey identifies a discovery by the configuration of the source.
type discoveryKey struct{ source string }

func sharedDiscovery(l *shared.Refs, source string) *sourceState {
	return shared.LoadOrNew(l, discoveryKey{source}, newDiscovery)
}

func newDiscovery() *sourceState {
	d := &sourceState{firstAnswer: make(chan struct{})}
	d.Run = d.step
	d.Interval = func(s *source) time.Duration {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.answered {
			return min(sourceRetry, s.refresh)
		}
		return s.refresh
	}
	return d
}

// canonicalAll replaces addresses, and ids that are addresses, by their canonical form. It keeps an
// invalid address, which the pool refuses later.
func canonicalAll(found []backend.Endpoint) {
	for i := range found {
		e := &found[i]
		if dials, _, err := parseAddress(e.Address); err == nil && len(dials) == 1 {
			if e.ID == e.Address {
				e.ID = dials[0]
			}
			e.Address = dials[0]
		}
	}
}

// endpoints returns the last good answer.
func (d *sourceState) endpoints() []backend.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

// Sources implements [membership.Manager].
func (p *Pool) Sources() (all []membership.SourceState) {
	for _, s := range p.sources {
		d := s.discovery
		d.mu.Lock()
		all = append(all, membership.SourceState{Name: s.name, Backends: len(d.found), Error: d.failing, Since: d.since, Ignored: d.ignored})
		d.mu.Unlock()
	}
	return all
}

// hasAnswered reports whether the source has given a good answer.
func (d *sourceState) hasAnswered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered
}

// step looks up the source once, or watches it until ctx ends. An error leaves the answer unchanged.
// Only the first error in a row is logged, and the end of the errors.
func (d *sourceState) step(ctx context.Context, s *source) (afterwards func()) {
	if s.watch != nil {
		d.watch(ctx, s)
		return nil
	}
	lookupCtx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := s.look(lookupCtx)
	canonicalAll(found)
	if ctx.Err() == nil {
		d.answer(s, found, err)
	}
	return nil
}

// answer records the answer of the source: the backends found, or an error.
func (d *sourceState) answer(s *source, found []backend.Endpoint, err error) {
	unresolved, ok := errors.AsType[*unresolvedError](err)
	if ok { // the answer itself is good
		err = nil
	}
	d.mu.Lock()
	lost, regained := false, false
	if err == nil {
		lost, regained = ok && !d.nameless, d.nameless && !ok
		d.nameless = ok
		keepResolved(found, d.found)
	}
	turned := (d.failing == nil) != (err == nil)
	d.failing = clip.Error(err)
	if turned || d.since.IsZero() {
		d.since = time.Now()
	}
	nothing := err == nil && len(found) == 0 && !d.answered && s.foreign
	if err == nil {
		d.found, d.answered = found, true
	}
	kept := len(d.found)
	d.mu.Unlock()

	logger := s.logger()
	switch {
	case turned && err != nil:
		logger.Warn("discovery failed; keeping the last known backends", zap.Int("backends", kept), zap.Error(clip.Error(err)))
	case turned:
		logger.Info("discovery works again", zap.Int("backends", kept))
	}
	if nothing {
		logger.Warn("discovery found no backends; a source that depends on the request must be reverse_proxy's own `dynamic`, since a pool queries its sources without a request")
	}
	switch {
	case lost:
		logger.Warn("target lookup failed; keeping the last known addresses", zap.Error(clip.Error(unresolved)))
	case regained:
		logger.Info("target lookup works again")
	}
	if err == nil {
		for _, user := range d.Users() {
			user.pool.reconcile()
		}
	}
	select {
	case <-d.firstAnswer:
	default:
		close(d.firstAnswer)
	}
}
