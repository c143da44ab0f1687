// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/selection/policytest"
)

// With sessions by client_ip, the policy serves connections without HTTP as any other.
func TestConnections(t *testing.T) { policytest.Connections(t, "sticky {\n client_ip\n}") }
