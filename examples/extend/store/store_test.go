// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mapstore

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/sticky/storetest"
)

func TestConformance(t *testing.T) { storetest.Run(t, storetest.Store{Caddyfile: "map 10000"}) }
