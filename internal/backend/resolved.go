// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"slices"
	"sync/atomic"
)

// resolved holds the IP addresses of a backend whose host name is resolved in advance, and the
// index of the one to dial.
type resolved struct {
	ips     []string // at least one
	current atomic.Int32
}

// Resolve sets the IP addresses of the backend's host name. Without any, the dialer resolves the
// name. If the address in use is still among them, it stays in use. Safe for concurrent use, as
// are the methods below.
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

// IP returns the address to dial instead of the host name, or "".
func (b *Backend) IP() string {
	if r := b.resolved.Load(); r != nil {
		return r.ip()
	}
	return ""
}

// IPs returns all addresses, beginning with the one to dial.
func (b *Backend) IPs() []string {
	r := b.resolved.Load()
	if r == nil {
		return nil
	}
	n := int(r.current.Load())
	return append(slices.Clone(r.ips[n:]), r.ips[:n]...)
}

// Reached makes ip the address to dial.
func (b *Backend) Reached(ip string) {
	if r := b.resolved.Load(); r != nil {
		r.prefer(ip)
	}
}

// Unreached moves on to the next address, if ip is still the one to dial.
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
