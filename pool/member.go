// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// member is a backend of the pool with its probers.
type member struct {
	*backend.Backend
	pool    *Pool
	key     backend.StateKey
	probers []*healthcheck.Prober // one for each check of the pool
	users   []*healthcheck.User
	reports *healthcheck.LoadReports // out of band; nil for none
	free    sync.Once
	origin  membership.Origin // guarded by the pool's lock
	started bool              // its probes run; guarded by the pool's lock

	latest  atomic.Int32           // index of the check whose status changed last
	joining *atomic.Bool           // the backend has not passed yet; shared with other configurations
	dials   periodic.Task[*member] // dials a member that joins a pool without checks
}

// newMember creates a member, with the known state of its address. If joining is set, the backend must pass its checks
// before it gets requests, unless it has passed before.
func (p *Pool) newMember(s backend.Endpoint, joining bool) (*member, error) {
	// Discovered addresses have not been parsed yet.
	if dials, _, err := parseAddress(s.Address); err != nil {
		return nil, err
	} else if len(dials) != 1 || dials[0] != s.Address {
		return nil, fmt.Errorf("%s is not the dial address of one backend", s.Address)
	}
	m := &member{pool: p, key: p.app.stateKey(p, &s)}
	refs := new(shared.Refs)
	var statuses []*health.Status
	for i, c := range p.checks {
		prober := healthcheck.SharedProber(refs, m.key, c.identity, c.Timing())
		m.probers = append(m.probers, prober)
		m.users = append(m.users, &healthcheck.User{
			Check:   c.Check,
			Target:  p.target(s.Address, c),
			Changed: func() { m.changed(i) },
			Passed:  m.passedFirst,
			Shortage: func(err error) {
				p.RecordShortage(err)
				p.loop.Wake()
			},
		})
		statuses = append(statuses, prober.Status)
	}
	p.restore(refs, m.key, statuses)
	m.Backend = backend.New(p.Name, s, backend.SharedState(refs, m.key), statuses, refs)
	m.Enter()
	m.beginJoin(refs, joining)
	p.overlay.restoreOperator(m.Backend)
	for _, u := range m.users {
		u.Target = u.Target.Of(m.Backend)
	}
	return m, nil
}

// spread is the longest time between the first probes of two members that start together. The probes of a large pool
// are spread evenly over the interval of the check.
const spread = 10 * time.Millisecond

// startAll starts the probes of all given members.
func startAll(members []*member) {
	for i, m := range members {
		m.start(i, len(members))
	}
}

// start starts the probes of member n of all members that start together; its first probe is delayed by n steps.
func (m *member) start(n, all int) {
	m.started = true
	m.SwapAnnounced() // drop earlier changes
	for i, prober := range m.probers {
		prober.Status.SetGuarded(m.pool.loop.guards[i] != nil && m.pool.GroupOf(m.Backend) != group.Unknown)
		interval := time.Duration(m.users[i].Check.Timing().Interval)
		step := spread
		if m.Joining() {
			step = joinSpread
		}
		m.users[i].Delay = time.Duration(n) * min(step, interval/time.Duration(all))
		prober.Start(m.users[i])
	}
	m.startDials()
	m.receiveReports(n, all)
}

// stop ends the probes. Further calls do nothing.
func (m *member) stop() {
	if !m.started {
		return
	}
	m.started = false
	for i, prober := range m.probers {
		prober.Stop(m.users[i])
	}
	m.dials.Stop(m)
	m.reports.Stop()
}

// release releases the member, once. takenOut reports that the member has left a pool that continues.
func (m *member) release(takenOut bool) {
	m.free.Do(func() {
		m.Leave(takenOut)
		m.Release()
		m.pool.app.freeKey(m.key)
	})
}

// probe runs the checks of some backends at once, except agents.
func (p *Pool) probe(backends []*backend.Backend) {
	if len(backends) == 0 || len(p.checks) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range backends {
		m := p.current[b.Address]
		if m == nil {
			continue
		}
		for i, prober := range m.probers {
			if !p.checks[i].steers() {
				prober.Wake()
			}
		}
	}
}

// changed makes the control loop evaluate a changed status.
func (m *member) changed(check int) {
	m.latest.Store(int32(check))
	m.pool.loop.wakeForStatus()
}
