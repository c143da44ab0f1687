// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

const (
	defaultRefresh = 10 * time.Second
	// sourceRetry replaces the refresh interval while a source has never
	// answered.
	sourceRetry = time.Second
	// lookupTimeout bounds one lookup.
	lookupTimeout = 5 * time.Second
)

// lookup asks a source once. It must return when ctx ends.
type lookup func(ctx context.Context) ([]backend.Settings, error)

// discovery asks one source again and again and keeps its last good answer.
// It is process-wide and shared by all pools with this source. Safe for
// concurrent use.
type discovery struct {
	periodic.Task[*source]
	firstAnswer chan struct{} // closed after the first lookup

	mu       sync.Mutex
	found    []backend.Settings
	answered bool
	failing  bool
	nameless bool // hosts of the last answer were not found
}

// source is a pool's use of a discovery.
type source struct {
	name      string
	look      lookup
	refresh   time.Duration
	foreign   bool // none of those that are looked up here
	pool      *Pool
	discovery *discovery
}

// discoveryKey names a discovery by the source's configuration.
type discoveryKey struct{ source string }

func sharedDiscovery(l *shared.Refs, source string) *discovery {
	return shared.LoadOrNew(l, discoveryKey{source}, newDiscovery)
}

func newDiscovery() *discovery {
	d := &discovery{firstAnswer: make(chan struct{})}
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

// canonicalAll writes addresses as the configuration's are written. What is no
// address stays, for the pool to refuse.
func canonicalAll(found []backend.Settings) {
	for i := range found {
		if dials, _, err := parseAddress(found[i].Address); err == nil && len(dials) == 1 {
			found[i].Address, found[i].ID = dials[0], dials[0]
		}
	}
}

// endpoints returns the last good answer.
func (d *discovery) endpoints() []backend.Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

// hasAnswered reports whether there was a good answer.
func (d *discovery) hasAnswered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answered
}

// step asks once. An error leaves the answer as it is and is logged when it is
// the first in a row, and so is the end of it.
func (d *discovery) step(ctx context.Context, s *source) (afterwards func()) {
	lookupCtx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := s.look(lookupCtx)
	canonicalAll(found)
	if ctx.Err() != nil {
		return nil
	}
	unresolved, ok := errors.AsType[*unresolvedError](err)
	if ok { // the answer is good all the same
		err = nil
	}
	d.mu.Lock()
	lost, regained := false, false
	if err == nil {
		lost, regained = ok && !d.nameless, d.nameless && !ok
		d.nameless = ok
		keepResolved(found, d.found)
	}
	turned := d.failing != (err != nil)
	d.failing = err != nil
	nothing := err == nil && len(found) == 0 && !d.answered && s.foreign
	if err == nil {
		d.found, d.answered = found, true
	}
	kept := len(d.found)
	d.mu.Unlock()

	logger := s.pool.app.logger.With(zap.String("pool", s.pool.Name), zap.String("source", s.name))
	switch {
	case turned && err != nil:
		logger.Warn("discovery fails; keeping the last answer", zap.Int("backends", kept), zap.Error(clip.Error(err)))
	case turned:
		logger.Info("discovery works again", zap.Int("backends", kept))
	}
	if nothing {
		logger.Warn("the source has found no backends; one that chooses by the request, which a pool does not have when it asks, must be reverse_proxy's own `dynamic`")
	}
	switch {
	case lost:
		logger.Warn("targets cannot be looked up; going on with the last addresses of each", zap.Error(clip.Error(unresolved)))
	case regained:
		logger.Info("targets are looked up again")
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
	return nil
}
