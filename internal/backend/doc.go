// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend holds the state of backends and pools. It does not depend on how that state is
// obtained: it imports no probe, no policy and no configuration.
//
//	State    what outlives a configuration: counters, slots, ejection, latency
//	Status   the result of one health check for one backend (package health)
//	Backend  one member of a pool in one configuration: address, id, weight,
//	         tier, on top of the State and the Statuses that it refers to
//	View     an immutable snapshot of a pool that policies pick from
//	Pool     the members of one pool, the view of them, and the queue for
//	         requests while all of them are full
//
// State and Status are shared by reference count ([shared.Refs]) for the whole process. So they
// outlive a reload, also a rejected one. Everything else belongs to one configuration and ends
// with it.
package backend
