// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package pool holds the members of a pool and the one way to a backend of it.
//
//	Pool     the members in one configuration, and the queue for requests while all are full
//	View     an immutable snapshot that policies pick from, by tier
//	Members  an immutable set of backends
//
// A pool belongs to one configuration and ends with it; the state of its backends outlives it.
package pool
