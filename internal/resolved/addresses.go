// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package resolved keeps the IP addresses of a host name, and which of them to dial.
package resolved

import (
	"slices"
	"sync/atomic"
)

// Addresses are the IP addresses of a host name that is resolved in advance, and the one to dial. The
// zero value has none: the dialer resolves the name. Safe for concurrent use.
type Addresses struct {
	current atomic.Pointer[addressList] // nil for none
}

// addressList holds addresses, and the index of the one to dial.
type addressList struct {
	ips     []string // at least one
	current atomic.Int32
}

// Resolve sets the IP addresses of the host name. Without any, the dialer resolves the
// name. If the address in use is still among them, it stays in use. Safe for concurrent use, as
// are the methods below.
func (a *Addresses) Resolve(ips []string) {
	before := a.current.Load()
	switch {
	case before == nil && len(ips) == 0, before != nil && slices.Equal(before.ips, ips):
		return
	case len(ips) == 0:
		a.current.Store(nil)
		return
	}
	next := &addressList{ips: slices.Clone(ips)}
	if before != nil {
		next.prefer(before.ip())
	}
	a.current.Store(next)
}

// IP returns the address to dial instead of the host name, or "".
func (a *Addresses) IP() string {
	if r := a.current.Load(); r != nil {
		return r.ip()
	}
	return ""
}

// IPs returns all addresses, beginning with the one to dial.
func (a *Addresses) IPs() []string {
	r := a.current.Load()
	if r == nil {
		return nil
	}
	n := int(r.current.Load())
	return append(slices.Clone(r.ips[n:]), r.ips[:n]...)
}

// Reached makes ip the address to dial.
func (a *Addresses) Reached(ip string) {
	if r := a.current.Load(); r != nil {
		r.prefer(ip)
	}
}

// Unreached moves on to the next address, if ip is still the one to dial.
func (a *Addresses) Unreached(ip string) {
	r := a.current.Load()
	if r == nil {
		return
	}
	if n := r.current.Load(); r.ips[n] == ip {
		r.current.CompareAndSwap(n, (n+1)%int32(len(r.ips)))
	}
}

func (r *addressList) ip() string { return r.ips[r.current.Load()] }

func (r *addressList) prefer(ip string) {
	if i := slices.Index(r.ips, ip); i >= 0 {
		r.current.Store(int32(i))
	}
}
