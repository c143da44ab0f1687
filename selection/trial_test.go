// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// A half-open backend to which none of the keys in use belong waits eject_for for its trial, which
// then is a request with another key. A backend in a tier without requests does not wait.
// Explanations agree.
func TestTrialOfBackendWithoutKeys(t *testing.T) {
	const ejectFor = 30 * time.Second
	for _, name := range lbtest.Policies(lbtest.ByKey) {
		for _, onFull := range []string{onSpill, onWait} {
			for _, tier := range []int{0, 1} {
				t.Run(fmt.Sprint(name, " ", onFull, " ", tier), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p := pool.NewPool("test")
						p.SetOptions(pool.Options{
							Queue:    pool.QueueRules{Size: 1, Timeout: time.Second},
							Outliers: &outlier.Rules{EjectFor: ejectFor, MaxEjectFor: time.Hour, MaxEjected: 1},
						})
						var members []*backend.Backend
						for i := range 5 {
							id := fmt.Sprint("u", i)
							members = append(members, backend.New(p.Name, backend.Endpoint{
								Address: id, Settings: backend.Settings{ID: id, Weight: new(1), Tier: i / 3 * tier},
							}, backend.NewState(), nil, nil))
						}
						p.SetMembers(pool.NewMembers(members))
						c := &client{t, inPool(t, policies(t)[name], name+" client_ip {\n on_full "+onFull+"\n}", p), "10.0.0.1:1"}
						want := func(when, address string) {
							t.Helper()
							if e := p.Explainers()[0](c.request(t.Context())); e.Backend != p.Find(address) {
								t.Errorf("%s: explained %q, want %s", when, e.Why, address)
							}
							if got := c.pick(); got != address {
								t.Errorf("%s: %s gets the request, want %s", when, got, address)
							}
						}
						owner, tried := c.pick(), members[4]
						if owner == tried.Address {
							tried = members[3]
						}
						p.Eject(tried, "bad", false)
						tried.ExpireNow(clock.Now())
						tried.Expire(clock.Now())
						p.Publish()
						if tier == 1 {
							want("at once", tried.Address)
							want("then", owner)
							return
						}
						want("at once", owner)
						time.Sleep(ejectFor)
						want("after eject_for", owner)
						time.Sleep(time.Nanosecond)
						want("later", tried.Address)
						want("then", owner)
					})
				})
			}
		}
	}
}
