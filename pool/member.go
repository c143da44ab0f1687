// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// member is a backend of the pool and the probes of it.
type member struct {
	*backend.Backend
	pool    *Pool
	key     backend.StateKey
	probers []*healthcheck.Prober // one for each check of the pool
	users   []*healthcheck.User
	free    sync.Once
}

// newMember makes a member on what is known of its address.
func (p *Pool) newMember(s backend.Settings) (*member, error) {
	// What is discovered has not been parsed before.
	if dials, _, err := parseAddress(s.Address); err != nil {
		return nil, err
	} else if len(dials) != 1 || dials[0] != s.Address {
		return nil, fmt.Errorf("%s is not the dial address of one backend", s.Address)
	}
	m := &member{pool: p, key: p.app.stateKey(p, s.Address)}
	leases := new(lease.Leases)
	var verdicts []*backend.Verdict
	for i, c := range p.checks {
		prober := healthcheck.Lease(leases, m.key, c.identity, c.Timing())
		m.probers = append(m.probers, prober)
		m.users = append(m.users, &healthcheck.User{
			Check:   c,
			Target:  healthcheck.NewTarget(s.Address, p.scheme, c.Timing().Port),
			Changed: func(failure error, inCharge bool) { m.changed(&p.checks[i], failure, inCharge) },
		})
		verdicts = append(verdicts, prober.Verdict)
	}
	m.Backend = backend.New(p.Name, s, backend.LeaseState(leases, m.key), verdicts, leases)
	return m, nil
}

func (m *member) start() {
	m.Announce() // what was announced before now
	for i, prober := range m.probers {
		prober.Start(m.users[i])
	}
}

func (m *member) stop() {
	for i, prober := range m.probers {
		prober.Stop(m.users[i])
	}
}

func (m *member) release() {
	m.free.Do(func() {
		m.Release()
		m.pool.app.freeKey(m.key)
	})
}

// changed publishes a verdict and, for the configuration in charge, says so:
// one log line and one event for each time the backend goes down or comes up.
func (m *member) changed(c *check, failure error, inCharge bool) {
	m.pool.Publish()
	up, changed := m.Announce()
	if !changed || !inCharge {
		return
	}
	m.CountTransition()
	reason := ""
	if failure != nil {
		reason = failure.Error()
	}
	fields := []zap.Field{
		zap.String("pool", m.Pool), zap.String("backend", m.ID),
		zap.String("address", m.Address), zap.String("check", c.name),
	}
	event := "backend_up"
	if up {
		m.pool.app.logger.Info("backend is up", fields...)
	} else {
		event = "backend_down"
		m.pool.app.logger.Warn("backend is down", append(fields, zap.String("reason", reason))...)
	}
	m.pool.app.events.Emit(m.pool.app.ctx, event, map[string]any{
		"pool": m.Pool, "backend": m.ID, "address": m.Address, "check": c.name, "reason": reason,
	})
}
