// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"maps"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// found reports whether a source has found an address.
func (p *Pool) found(address string) bool {
	for _, s := range p.sources {
		for _, f := range s.discovery.endpoints() {
			if f.Address == address {
				return true
			}
		}
	}
	return false
}

// expire removes the backends whose registrations have expired. Each instance of a fleet does so by
// itself.
func (p *Pool) expire() {
	p = p.acting()
	r := p.overlay
	r.ops.Lock()
	defer r.ops.Unlock()
	var gone []*backend.Backend
	now := time.Now()
	c := r.inFleet()
	over := make(map[string]bool)
	r.mu.Lock()
	for address, a := range r.added {
		if !a.until.IsZero() && !now.Before(a.until) {
			over[address] = true
		}
	}
	r.mu.Unlock()
	maps.DeleteFunc(over, func(address string, _ bool) bool { return !c.expired(address) })
	r.mu.Lock()
	maps.DeleteFunc(r.added, func(address string, _ *addition) bool {
		if b := p.Find(address); over[address] && b != nil {
			gone = append(gone, b)
		}
		return over[address]
	})
	r.mu.Unlock()
	if len(over) == 0 {
		return
	}
	r.reconcileAll()
	for _, b := range gone {
		p.announceExpiry(b)
	}
}

// announceExpiry announces that a backend has left because its registration expired.
func (p *Pool) announceExpiry(b *backend.Backend) {
	p.emit(b, true, "backend was removed", "backend_removed", "its registration expired", "by", "registration")
}
