// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend holds the state of one backend: settings, counters, slots, weight, statuses.
//
//	State    what outlives a configuration: counters, slots, ejection, latency
//	Backend  one member of a pool in one configuration: address, id, weight, tier, on top of the
//	         State and of the statuses of its health checks
//	Permit   the right to send one request to one backend
//
// State and [health.Status] are shared by reference count ([shared.Refs]) for the whole process.
// So they outlive a reload, also a rejected one. Everything else belongs to one configuration.
package backend
