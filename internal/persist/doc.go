// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package persist is what of the state of backends outlives the process:
//
//	Record      the state of one backend, taken from it and restored to a new one
//	Snapshot    the records of all backends, as they are stored
//	Generation  the use of the stored state by one configuration: when it is loaded and saved
//
// Each process has a file of its own in the storage of Caddy.
package persist
