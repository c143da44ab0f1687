// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest_test

import (
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

func open(t *testing.T) func() fleet.Conn {
	m := fleettest.NewMemory()
	return func() fleet.Conn {
		c, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// The store in memory passes the suite, in virtual time and in real time.
func TestConformance(t *testing.T) {
	for _, name := range fleettest.Tests() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fleettest.RunTest(t, name, open(t)) })
		})
	}
	t.Run("real time", func(t *testing.T) { fleettest.Run(t, open) })
}
