// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package targetlimiter

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/shedder/limitertest"
)

func TestConformance(t *testing.T) { limitertest.Run(t, limitertest.Limiter{Caddyfile: "target 50ms"}) }
