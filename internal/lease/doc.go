// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lease lets values and work outlive a configuration. A reload starts
// the new configuration before it stops the old one, and a configuration may be
// rejected at any point on the way:
//
//	Leases  values by key, for as long as a configuration refers to them
//	Stack   who of the overlapping configurations is in charge
//	Worker  work that goes on while any configuration wants it
package lease
