// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend holds what is known of backends, and nothing of how it came
// to be known: it imports no probe, no policy and no configuration.
//
//	State    what outlives a configuration: counters, requests in flight
//	Verdict  what one health check says of one backend
//	Backend  one member of a pool in one configuration: address, id, weight,
//	         tier, on top of the State and the Verdicts it leases
//	View     an immutable snapshot of a pool that policies pick from
//	Pool     the members of one pool, the view of them, and where requests wait
//	         while all of them are full
//
// State and Verdicts are leased ([lease.Refs]) from a process-wide pool, so that
// they outlive a reload, also a rejected one. Everything else belongs to one
// configuration and goes with it.
package backend
