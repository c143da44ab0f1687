// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync/atomic"
)

// resolved are the IP addresses of a backend's host name that was looked up in
// advance, and which of them is dialed.
type resolved struct {
	ips     []string // at least one
	current atomic.Int32
}

// Resolve sets the IP addresses that the backend's host name stands for; none
// leaves it to who dials to look it up. Safe for concurrent use, as what follows.
func (b *Backend) Resolve(ips []string) {
	before := b.resolved.Load()
	switch {
	case before == nil && len(ips) == 0, before != nil && slices.Equal(before.ips, ips):
		return
	case len(ips) == 0:
		b.resolved.Store(nil)
		return
	}
	next := &resolved{ips: slices.Clone(ips)}
	if before != nil {
		next.prefer(before.ip())
	}
	b.resolved.Store(next)
}

// IP returns the address to dial instead of the host name, or nothing.
func (b *Backend) IP() string {
	if r := b.resolved.Load(); r != nil {
		return r.ip()
	}
	return ""
}

// IPs returns all of them, beginning with the one to dial.
func (b *Backend) IPs() []string {
	r := b.resolved.Load()
	if r == nil {
		return nil
	}
	n := int(r.current.Load())
	return append(slices.Clone(r.ips[n:]), r.ips[:n]...)
}

// Reached has an address be dialed from now on.
func (b *Backend) Reached(ip string) {
	if r := b.resolved.Load(); r != nil {
		r.prefer(ip)
	}
}

// Unreached has the next address be dialed from now on, if it is still the turn of
// the given one.
func (b *Backend) Unreached(ip string) {
	r := b.resolved.Load()
	if r == nil {
		return
	}
	if n := r.current.Load(); r.ips[n] == ip {
		r.current.CompareAndSwap(n, (n+1)%int32(len(r.ips)))
	}
}

func (r *resolved) ip() string { return r.ips[r.current.Load()] }

func (r *resolved) prefer(ip string) {
	if i := slices.Index(r.ips, ip); i >= 0 {
		r.current.Store(int32(i))
	}
}
