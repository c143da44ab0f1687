// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package slowstart raises the weight of a backend that joins a pool, or recovers, step by step
// as it answers well.
package slowstart
