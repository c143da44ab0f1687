// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Sessions implements [pool.SessionCounter]. A store that is a [Counter] returns the number
// of live sessions. Otherwise the sessions used in the last minute are estimated, and the
// result is complete a minute after the start.
func (p *Sticky) Sessions(b *backend.Backend) (sessions int, complete bool) {
	id := idOf(b)
	if c := p.counter(); c != nil {
		return c.Count(id), true
	}
	now := clock.Now()
	return p.usage.count(id, now), p.usage.complete(now)
}

// Counts implements [pool.SessionCounter].
func (p *Sticky) Counts() any {
	if c := p.counter(); c != nil {
		return c.Table()
	}
	return p.usage
}

// counter returns the Counter of the store, or nil.
func (p *Sticky) counter() Counter {
	k, ok := p.sessions.(*storeSessions)
	if !ok {
		return nil
	}
	c, _ := k.sessions.(Counter)
	return c
}

// local reports whether the sessions are in a store in this process.
func (p *Sticky) local() bool {
	k, ok := p.sessions.(*storeSessions)
	return ok && k.local
}

// forgetTime bounds the time in which a store forgets a backend.
const forgetTime = 5 * time.Second

// Forget implements [pool.SessionCounter]. Cookies cannot be revoked: their sessions move at
// their next use.
func (p *Sticky) Forget(b *backend.Backend) {
	k, ok := p.sessions.(*storeSessions)
	if !ok {
		return
	}
	p.inBackground(func() {
		ctx, cancel := context.WithTimeout(context.Background(), forgetTime)
		defer cancel()
		if err := k.sessions.Forget(ctx, idOf(b)); err != nil {
			p.logger.Warn("session store failed to delete the sessions of a removed backend; they move when they are used",
				zap.String("backend", b.ID), zap.Error(err))
		}
	})
}

// inBackground runs f in a goroutine, unless the policy is being cleaned up.
func (p *Sticky) inBackground(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.works.Go(f)
	}
}

// Interface guards
var _ pool.SessionCounter = (*Sticky)(nil)
