// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// dialTimeout bounds the connection to a backend of a pool without checks.
const dialTimeout = time.Second

// Canonical implements [membership.Manager].
func (p *Pool) Canonical(address string) (string, error) {
	s, err := p.resolve(&membership.Addition{Address: address})
	return s.Address, err
}

// Verify implements [membership.Manager]. Agents are not probed: an agent sets the weight and the
// state of a backend, and does not test whether it works.
func (p *Pool) Verify(ctx context.Context, a membership.Addition) error {
	p = p.acting()
	s, err := p.resolve(&a)
	if err != nil {
		return err
	}
	for _, c := range p.checks {
		if c.steers() {
			continue
		}
		target := p.target(s.Address, c)
		if err := healthcheck.Once(ctx, c.Check, target); err != nil {
			return fmt.Errorf("backend %s is %w: health check %s: %w", s.Address, membership.ErrNotAlive, c.name, err)
		}
	}
	if p.probes() || p.transport.Indirect() {
		return nil
	}
	if err := p.dial(ctx, p.dialTarget(s.Address)); err != nil {
		return fmt.Errorf("backend %s is %w: %w", s.Address, membership.ErrNotAlive, err)
	}
	return nil
}

// dialTarget returns the target of dial at an address.
func (p *Pool) dialTarget(address string) healthcheck.Target {
	return healthcheck.NewTarget(address, p.usesScheme(), 0).Through(p.transport)
}

// dial opens a connection to a backend, and closes it.
func (p *Pool) dial(ctx context.Context, target healthcheck.Target) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := target.Dial(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}
