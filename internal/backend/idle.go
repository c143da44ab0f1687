// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "github.com/ballast-lb/caddy-ballast/internal/clock"

// OnActivity has wake called, without a lock, when the first attempt is made after
// Park. It must be called before the pool gets requests.
func (p *Pool) OnActivity(wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
}

// GoIdle has the next attempt wake the watcher. It reports false if there are
// attempts in flight, so that there is something to watch.
func (p *Pool) GoIdle() bool {
	p.shared.idle.Store(true)
	// An attempt that has begun meanwhile has seen it, or is seen here.
	return p.InFlight() == 0 || !p.shared.idle.CompareAndSwap(true, false)
}

// wakeUp wakes the watcher.
func (p *Pool) wakeUp() {
	p.mu.Lock()
	wake := p.wake
	p.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// Eject takes a backend that is in out, unless too many of its tier are and no other
// tier can take their requests, or it is the last that can serve. It takes effect at
// once; the view follows. If gone, all errors that are the reason found nobody there.
func (p *Pool) Eject(b *Backend, reason string, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rules := p.rules.Outliers; rules != nil && b.EjectionState() == Healthy && p.health.allowEjection(b, rules.MaxEjected) {
		b.markEjected(clock.Now(), rules, reason, gone)
	}
}
