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

// expire removes the backends whose registrations have expired.
func (p *Pool) expire() {
	p = p.acting()
	r := p.overlay
	r.ops.Lock()
	defer r.ops.Unlock()
	var gone []*backend.Backend
	now := time.Now()
	r.mu.Lock()
	maps.DeleteFunc(r.added, func(address string, a *addition) bool {
		over := !a.until.IsZero() && !now.Before(a.until)
		if b := p.Find(address); over && b != nil {
			gone = append(gone, b)
		}
		return over
	})
	r.mu.Unlock()
	r.reconcileAll()
	for _, b := range gone {
		p.emit(b, true, "backend was removed", "backend_removed", "its registration expired", "by", "registration")
	}
}
