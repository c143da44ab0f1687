// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(fleettest.Guest)) }

// instance loads a site on an instance of the fleet of this test.
func instance(t *testing.T, w *world, id string, s setup) *site {
	t.Helper()
	apps := caddy.ModuleMap{"ballast": json.RawMessage(fmt.Sprintf(`{"fleet":{"id":%q,"store":{"module":"fleettest","name":%q}}}`, id, t.Name()))}
	p, err := lbtest.Load(t, apps, s.config(), w.backends(5))
	if err != nil {
		t.Fatal(err)
	}
	return &site{p, w}
}

// A session that begins on one instance is kept on the others within 100 ms, and on one that joins
// later. Sessions go on while the store is away, and are known everywhere once it is back. Those of
// pools without a name stay where they are.
func TestSessionsInAFleet(t *testing.T) {
	for name, policy := range map[string]string{
		"header": `,"header":"X-Client"`, "client ip": `,"client_ip":true`, "query": `,"query":"id"`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s := setup{n: 5, policy: policy}
				a, b := instance(t, w, "a", s), instance(t, w, "b", s)
				time.Sleep(3 * time.Second)
				client := func(n int) *client {
					c := newClient()
					c.header.Set("X-Client", fmt.Sprint("client ", n))
					c.ip, c.query = fmt.Sprint("10.0.0.", n), fmt.Sprint("?id=", n)
					return c
				}
				homes := make(map[int]string)
				for n := range 10 {
					homes[n] = client(n).get(a).backend
				}
				time.Sleep(100 * time.Millisecond)
				for n, home := range homes {
					expect(t, "on the other", client(n).get(b), home, "kept")
				}
				store := fleettest.Named(t.Name())
				store.Fail(errors.New("connection refused"))
				time.Sleep(2 * time.Second)
				for n := 10; n < 20; n++ {
					homes[n] = client(n).get(b).backend
					expect(t, "without a store", client(n).get(b), homes[n], "kept")
				}
				store.Fail(nil)
				time.Sleep(5 * time.Second)
				c := instance(t, w, "c", s)
				time.Sleep(3 * time.Second)
				for n, home := range homes {
					expect(t, "on the first", client(n).get(a), home, "kept")
					expect(t, "on one that has joined", client(n).get(c), home, "kept")
				}
			})
		})
	}
	t.Run("no name", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := setup{n: 5, policy: `,"header":"X-Client"`, unnamed: true}
			a, b := instance(t, w, "a", s), instance(t, w, "b", s)
			time.Sleep(3 * time.Second)
			c := newClient()
			c.header.Set("X-Client", "me")
			c.get(a)
			time.Sleep(time.Second)
			if got := c.get(b); got.session != "new" {
				t.Errorf("the other instance has the session: %v", got)
			}
		})
	})
}
