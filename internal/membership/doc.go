// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package membership changes the members of a pool at run time.
package membership
