// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package persist is what of the state of backends outlives the process: the record of each
// backend, its restoration, and the snapshot that is stored.
package persist
