// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet replicates records between the instances of Caddy that share a store, and tracks which
// instances live. Requests read local tables only: no request waits for the store, or fails because of it.
package fleet
