// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package nearestpolicy

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/selection/policytest"
)

func TestConformance(t *testing.T) { policytest.Run(t, policytest.Policy{Caddyfile: "nearest west"}) }
