// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// An operator sees how many sessions a backend has, and that it loses none while it is
// drained. When it is removed its sessions move; those of a table are over at once, so
// that another backend with its id does not inherit them.
func TestOperatorsSeeSessions(t *testing.T) {
	for _, k := range kinds {
		synctest.Test(t, func(t *testing.T) {
			s := setup{n: 3, policy: k.policy}.load(t, newWorld(t))
			clients := clientsOf(30, k.client)
			homes := make([]string, len(clients))
			had := 0
			all := func() {
				for n, c := range clients {
					if homes[n] = c.get(s).backend; homes[n] == "a" {
						had++
					}
				}
			}
			all()
			had = 0
			all()                        // now each has sent its cookie
			time.Sleep(20 * time.Second) // a window ends
			clients[0].get(s)
			synctest.Wait()
			pool := pool.Current("web")
			a := pool.Find("a:1")
			if got := pool.Sessions(a); got.Known < had-1 || got.Known > had+1 {
				t.Errorf("%s: a has %+v, want %d", k.name, got, had)
			}
			if _, err := pool.Manager().Remove("id-a", membership.Removal{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := pool.Sessions(a).Known; n != 0 && !strings.HasPrefix(k.name, "cookie") {
				t.Errorf("%s: %d sessions are left when the backend is removed", k.name, n)
			}
			for n, c := range clients {
				got := c.get(s)
				switch want := "moved"; {
				case homes[n] != "a":
					expect(t, k.name+", of another", got, homes[n], "kept")
				case !strings.HasPrefix(k.name, "cookie"):
					want = "new"
					fallthrough
				default:
					if got.session != want || got.backend == "a" {
						t.Errorf("%s: of the one that was removed: %v, want %s", k.name, got, want)
					}
				}
			}
		})
	}
}
