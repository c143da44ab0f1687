// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// BenchmarkLimits is the cost of a pick and of the release of its slot with limits, named
// policy/state/backends. In calm pools all slots are free, in saturated ones a single one, and in
// full ones none, so that each request is refused. Uncapped is a calm pool without limits.
func BenchmarkLimits(b *testing.B) {
	ours := policies(b)
	for _, n := range benchSizes {
		for _, name := range slices.Sorted(maps.Keys(ours)) {
			for _, state := range []string{"uncapped", "calm", "saturated", "full"} {
				limit := 2
				if state == "uncapped" {
					limit = 0
				}
				pool := limitedPool(n, limit)
				sel := keyedInPool(b, ours[name], pool)
				measure(pool.View().Members.All)
				if state == "saturated" || state == "full" {
					fill(b, sel, pool, state == "saturated")
				}
				b.Run(fmt.Sprintf("%s/%s/%d", name, state, n), func(b *testing.B) {
					b.ReportAllocs()
					req, _, end := endable("key")
					defer end()
					key := req.Header["X-Key"]
					for i := 0; b.Loop(); i++ {
						key[0] = benchKeys[i%len(benchKeys)]
						// Select first releases the slot of the previous selection.
						if u := sel.Select(nil, req, nil); (u == nil) != (state == "full") {
							b.Fatal("selected", u)
						}
					}
				})
			}
		}
	}
}

// fill takes every slot of a pool, so that a refused request marks it as saturated, and releases one
// if butOne.
func fill(b *testing.B, sel reverseproxy.Selector, pool *pool.Pool, butOne bool) {
	for _, m := range pool.View().Members.All {
		for m.Take() {
		}
	}
	req, _, end := endable("key")
	defer end()
	if sel.Select(nil, req, nil) != nil || !pool.Saturated(0) {
		b.Fatal("the pool is not full")
	}
	if butOne {
		all := pool.View().Members.All
		backend.Permit{Backend: all[len(all)/2], Slot: true}.Release()
	}
}
