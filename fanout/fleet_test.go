// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

func init() { caddy.RegisterModule(new(fleettest.Guest)) }

// With wait, the first fan-out goes to the backends that others of the fleet have added, too.
func TestFanOutWaitsForTheFleet(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		m := fleettest.Named(t.Name())
		conn, _ := m.Open()
		added := fleet.Record{Topic: "pools/web", Key: "m|b:1", Version: 1 << 20, Value: []byte(`{"by":"operator","instance":"other","added":{}}`), TTL: time.Hour}
		if err := conn.Push(t.Context(), "other", []fleet.Record{added}); err != nil {
			t.Fatal(err)
		}
		m.Stall(true)
		time.AfterFunc(500*time.Millisecond, func() { m.Stall(false) })
		apps := caddy.ModuleMap{"ballast": json.RawMessage(fmt.Sprintf(
			`{"fleet":{"id":"a","wait":"3s","store":{"module":"fleettest","name":%q}},"pools":{"web":{"backends":[{"dial":"a:1"}]}}}`, t.Name()))}
		var a, b seen
		s := newSite(t, servers{"a:1": a.then(says(200, "a")), "b:1": b.then(says(200, "b"))}, apps, `"pool":"web"`)
		if r := s.do(post("x")); r.err != nil || len(a.requests) != 1 || len(b.requests) != 1 {
			t.Errorf("%v; %d requests to the configured backend, %d to the one of the fleet", r.err, len(a.requests), len(b.requests))
		}
	})
}
