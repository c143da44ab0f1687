// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Condition returns the current condition of a member. Its reason says whether an operator has asked for
// it for the address, whatever instance is there. m may be nil.
func Condition(m Manager, b *backend.Backend) backend.Condition {
	c := b.Condition()
	if m != nil && c.Reason == "operator" && slices.Contains(m.ForAddress(b.Address), "state") {
		c.Reason = "operator, for the address"
	}
	return c
}
