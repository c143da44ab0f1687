// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/sticky/storetest"
)

func TestConformance(t *testing.T) {
	for _, name := range lbtest.Modules("ballast.sessions") {
		t.Run(name, func(t *testing.T) { storetest.Run(t, storetest.Store{Caddyfile: name + " 200000"}) })
	}
}
