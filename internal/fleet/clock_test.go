// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// A version is greater than all that the instance has made or applied before, also when the clocks
// of others are ahead.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a := start(t, m, "a")
		last := a.Now()
		for range 1000 {
			next := a.Now()
			if next <= last {
				t.Fatalf("%d after %d", next, last)
			}
			last = next
		}
		conn, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		push := func(version uint64) {
			t.Helper()
			r := fleet.Record{Topic: "test/records", Key: "k", Version: version, TTL: time.Hour}
			if err := conn.Push(t.Context(), "other", []fleet.Record{r}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		ahead := uint64(time.Now().Add(24*time.Hour).UnixMilli()) << 16
		push(ahead)
		if next := a.Now(); next <= ahead || next > ahead+10 {
			t.Errorf("%d after %d of an instance whose clock is a day ahead", next, ahead)
		}
		push(1<<64 - 1)
		if next := a.Now(); next <= ahead || next > ahead+10 {
			t.Errorf("%d after a version more than a year ahead", next)
		}
	})
}
