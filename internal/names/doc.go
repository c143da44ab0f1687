// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package names says which names of pools and backends are valid.
package names
