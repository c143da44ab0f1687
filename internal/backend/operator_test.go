// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"math/rand/v2"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// A backend is removed from when it was taken out of the last pool that had it until one has it
// again, whatever an operator says meanwhile; and what the operator says is kept.
func TestRemoved(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var o Operator
		members, gone, admin := 0, false, health.Ready
		for range 100 {
			switch random.IntN(3) {
			case 0:
				o.Enter()
				members, gone = members+1, false
			case 1:
				if members == 0 {
					continue
				}
				takenOut := random.IntN(2) == 0
				o.Leave(takenOut)
				members--
				gone = members == 0 && takenOut
			case 2:
				admin = []health.Admin{health.Ready, health.Drain, health.Maint}[random.IntN(3)]
				o.SetAdmin(admin)
			}
			if o.Removed() != gone || o.AdminState() != admin || o.Out() != (gone || admin != health.Ready) {
				t.Fatalf("seed %d: removed %v, %v, out %v; want removed %v, %v", seed, o.Removed(), o.AdminState(), o.Out(), gone, admin)
			}
		}
	}
}
