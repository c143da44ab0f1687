// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// OnActivity sets the function that the first attempt after [Pool.GoIdle] calls, without a lock.
// It must be called before the pool gets requests.
func (p *Pool) OnActivity(wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
}

// GoIdle makes the next attempt wake the control loop. It returns false if attempts are in flight, so that the loop
// must continue.
func (p *Pool) GoIdle() bool {
	idle := true
	for _, g := range p.groups {
		idle = g.shared.GoIdle() && idle
	}
	return idle
}

// WakeUp implements [backend.Owner]. It wakes the control loop.
func (p *Pool) WakeUp() {
	p.mu.Lock()
	wake := p.wake
	p.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// Eject implements [backend.Owner]. It ejects a healthy backend, unless MaxEjected of its tier are ejected already
// and no other tier can take the requests, or the backend is the last of its group that can serve. The ejection
// takes effect at once; the view follows. noConnection reports that all errors that led to it were failures to
// connect. For a request of an earlier configuration, the rules of the current one apply.
func (p *Pool) Eject(b *backend.Backend, reason string, noConnection bool) {
	p = cmp.Or(Current(p.Name), p)
	p.mu.Lock()
	defer p.mu.Unlock()
	rules, i := p.options.Outliers, p.GroupOf(b)
	if rules != nil && i != group.Unknown && b.EjectionState() == outlier.Healthy && p.groups[i].health.AllowEjection(b, rules.MaxEjected) {
		b.Eject(clock.Now(), rules, reason, noConnection)
	}
}
