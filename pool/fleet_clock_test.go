// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// What was done on an instance whose clock is years ahead, which the clock of the fleet does not follow, can
// be undone on every instance that knows of it.
func TestChangeAfterOneOfAClockFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := nodes(t, m, 2, canaries(`"share":0.1`))
		conn, err := m.Link().Open()
		if err != nil {
			t.Fatal(err)
		}
		version := uint64(time.Now().Add(10*365*24*time.Hour).UnixMilli()) << 16
		if err := conn.Push(context.Background(), "ahead", []fleet.Record{
			{Topic: "pools/web", Key: "a|a:1", Version: version, Value: []byte(`{"by":"operator","state":"drain"}`), TTL: time.Hour},
			{Topic: "rollouts/web", Key: rolloutKey("canary", "0.1"), Version: version, Value: []byte(`{"action":"abort","by":"operator","instance":"ahead"}`), TTL: time.Hour},
		}); err != nil {
			t.Fatal(err)
		}
		soon()
		for _, n := range all {
			if got := n.find("a:1").AdminState(); got != health.Drain {
				t.Fatalf("a:1 is %v on %s", got, n.name)
			}
		}
		expectRollouts(t, all, "aborted at 0")
		ready := health.Ready
		all[0].alter("a:1", membership.Change{Admin: &ready})
		all[1].act(rollout.Resume)
		for range 3 {
			soon()
			for _, n := range all {
				if got := n.find("a:1").AdminState(); got != health.Ready {
					t.Errorf("a:1 is %v on %s after it was made ready", got, n.name)
				}
			}
			expectRollouts(t, all, "running at 0.1")
			m.Gap() // all is read again
			seconds(2)
		}
		for _, n := range all {
			n.end()
		}
	})
	lbtest.NoLeaks(t)
}

// rolloutKey is the key of the record of a group with a plan.
func rolloutKey(group, plan string) string {
	sum := sha256.Sum256([]byte(plan))
	return group + "|" + hex.EncodeToString(sum[:12])
}
