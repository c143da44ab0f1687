// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import "github.com/ballast-lb/caddy-ballast/internal/fleet"

// Traffic is the traffic of a [Memory], as if it were a store on a server, without the overhead of
// a protocol.
type Traffic struct {
	// Beats, Pushes, Changes and All are the calls of these methods. Calls that failed do not
	// count.
	Beats, Pushes, Changes, All Transfers
}

// Transfers counts calls of a method and their bytes.
type Transfers struct {
	// Calls is their number.
	Calls int
	// In and Out are the bytes that the store has received and sent.
	In, Out int
}

// Total returns the sum of all methods.
func (t Traffic) Total() Transfers {
	var all Transfers
	for _, of := range []Transfers{t.Beats, t.Pushes, t.Changes, t.All} {
		all.Calls += of.Calls
		all.In += of.In
		all.Out += of.Out
	}
	return all
}

func (t *Transfers) add(in, out int) {
	t.Calls++
	t.In += in
	t.Out += out
}

// Traffic returns the traffic since the previous call.
func (m *Memory) Traffic() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traffic
	m.traffic = Traffic{}
	return t
}

func (m *Memory) count(t *Transfers, in, out int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.add(in, out)
}

func sum[T any](all []T, size func(T) int) (n int) {
	for _, v := range all {
		n += size(v)
	}
	return n
}

func recordSize(r fleet.Record) int { return r.Size() }

func instanceSize(i fleet.Instance) int {
	return len(i.ID) + len(i.Name) + len(i.Zone) + len(i.Version) + 16
}
