// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package shared holds values that outlive a configuration. A reload starts the new configuration
// before it stops the old one, and a configuration may be rejected at any point:
//
//	Refs         counted references to values by key, released with a configuration
//	Generations  the configurations that use one value, of which the newest is current
package shared
