// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// cookieClash detects that another policy of the configuration sets cookies of the same name on
// the same site, so that each ends the sessions of the other. The policy does not know the
// hosts and paths of its proxy; a client with a cookie of the other policy proves the clash. It
// is safe for concurrent use.
type cookieClash struct {
	warned atomic.Bool
	next   atomic.Int64 // earliest time of the next check, as of clock.Now
}

// clashEvery is the minimum time between two checks of a foreign cookie.
const clashEvery = time.Second

// recordClash warns if a token belongs to a session of another policy. The check runs in the
// background, at most once every clashEvery.
func (p *Sticky) recordClash(token string) {
	now, next := int64(clock.Now()), p.clash.next.Load()
	if p.clash.warned.Load() || now < next || !p.clash.next.CompareAndSwap(next, now+int64(clashEvery)) {
		return
	}
	p.inBackground(func() {
		other := p.cookieSetterOf(token)
		if other == nil || p.clash.warned.Swap(true) {
			return
		}
		p.logger.Warn("two handlers set session cookies with the same name on one site and end each other's sessions; write `cookie <name>` in one of them, or name their pools",
			zap.String("cookie", p.sessions.(*cookieSessions).names[0]), zap.String("pool", p.scope.label()), zap.String("other_pool", other.scope.label()))
	})
}

// cookieSetterOf returns another policy of the same configuration whose cookies have the same
// name and which accepts the token, or nil.
func (p *Sticky) cookieSetterOf(token string) *Sticky {
	mine := p.sessions.(*cookieSessions)
	for other := range listed.All() {
		k, ok := other.sessions.(*cookieSessions)
		if !ok || other.config != p.config || other.scope == p.scope || k.names[0] != mine.names[0] {
			continue
		}
		b, _, ok := k.codec.decode(token)
		if r := other.index.Load(); ok && r != nil {
			if _, known := r.members[b.Backend]; known {
				return other
			}
		}
	}
	return nil
}
