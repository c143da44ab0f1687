// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet replicates records between the instances of Caddy that share a store, and knows
// which instances live. Requests read local tables only; a store that is slow or gone costs no
// request.
package fleet
