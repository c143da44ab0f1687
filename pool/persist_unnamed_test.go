// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Pools without a name that are alike have records of their own in the storage, also of what was removed from
// several of them, or from one whose twin has it: one key twice would make the whole file useless.
func TestRestartOfUnnamedPoolsAfterRemovals(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		route := proxy("wrr", dials("a:1", "b:1", "c:1"))
		start := func() []*lbtest.Proxy { return loadAll(t, kept(t, ""), route, route) }
		remove := func(id string, pools ...string) {
			for _, name := range pools {
				if _, err := pool.Current(name).Manager().Remove(id, membership.Removal{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		p := start()
		remove("a:1", "inline-a:1", "inline-a:1-2")
		remove("b:1", "inline-a:1")
		for range 3 {
			seconds(12)
			expectServed(t, p[0], "c:1")
			expectServed(t, p[1], "b:1", "c:1")
			if got := strings.Join(p[0].Logged("error"), "\n"); strings.Contains(got, "unusable") {
				t.Errorf("logged %s", got)
			}
			p[0].Close()
			_, data := v.only(t)
			if n := strings.Count(data, `"removed"`); n != 3 {
				t.Errorf("%d removals in the storage, want 3: %s", n, data)
			}
			p = start()
		}
		p[0].Close()
	})
	lbtest.NoLeaks(t)
}
