// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/locality"
	"github.com/ballast-lb/caddy-ballast/internal/tiers"
)

// With zones, each tier has the share that it has without them, its home comes first and gets its
// share of it, and a side without a healthy backend gets nothing while the other has one.
func TestSharesOfZones(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var plain, zoned []*backend.Backend
		for i := range 1 + rng.IntN(8) {
			zone, tier, backup, up := []string{"here", "there", ""}[rng.IntN(3)], rng.IntN(3), rng.IntN(8) == 0, rng.IntN(4) > 0
			for _, to := range []*[]*backend.Backend{&plain, &zoned} {
				e := backend.Endpoint{Address: fmt.Sprint("b", i), Settings: backend.Settings{ID: fmt.Sprint("b", i), Weight: new(1 + rng.IntN(3)), Tier: tier, Backup: backup, Zone: zone}}
				*to = append(*to, backend.New("p", e, backend.NewState(), []*health.Status{health.NewStatus(up)}, nil))
			}
		}
		o := Options{Spill: 1.4, Panic: []float64{0, 0.5}[rng.IntN(2)]}
		view := func(members []*backend.Backend) *View {
			p := NewPool("p")
			p.SetOptions(o)
			p.SetMembers(NewMembers(members))
			return p.View()
		}
		was := view(plain)
		o.Locality = &locality.Preference{Zone: "here", Margin: 0.1}
		v := view(zoned)

		shares := make(map[tiers.Level]float64)
		before := 0.0
		for i := range v.Tiers {
			p := &v.Tiers[i]
			share := p.Share - before
			before = p.Share
			shares[p.Level()] += share
			for _, b := range p.Backends {
				if (b.Zone != "here") != p.Abroad {
					t.Fatalf("seed %d: %s of zone %q is in the wrong part", seed, b.ID, b.Zone)
				}
			}
			other, first := (*tiers.Tier)(nil), true
			if i+1 < len(v.Tiers) && v.Tiers[i+1].Level() == p.Level() {
				other = &v.Tiers[i+1]
			} else if i > 0 && v.Tiers[i-1].Level() == p.Level() {
				other, first = &v.Tiers[i-1], false
			}
			switch {
			case share < -1e-9:
				t.Fatalf("seed %d: part %d has share %v", seed, i, share)
			case other == nil && p.Home != map[bool]float64{false: 1, true: 0}[p.Abroad]:
				t.Fatalf("seed %d: the only part, abroad %v, has Home %v", seed, p.Abroad, p.Home)
			case other != nil && (first == p.Abroad || p.Home != other.Home):
				t.Fatalf("seed %d: parts %+v, %+v", seed, p, other)
			}
			if other != nil && !first {
				whole := shares[p.Level()]
				if want := whole * (1 - p.Home); math.Abs(share-want) > 1e-9 || p.Home != 0 && p.Home != 1 && p.Home != locality.MaxHome {
					t.Fatalf("seed %d: %v of %v go abroad, Home is %v", seed, share, whole, p.Home)
				}
			}
		}
		before = 0
		for i := range was.Tiers {
			p := &was.Tiers[i]
			if share := p.Share - before; math.Abs(share-shares[p.Level()]) > 1e-9 {
				t.Fatalf("seed %d: tier %v has %v with zones, %v without", seed, p.Level(), shares[p.Level()], share)
			}
			before = p.Share
		}
	}
}

// Backends outside of the subset are in no tier while one of the subset is healthy, and are all
// that is left afterwards.
func TestUnusedBackends(t *testing.T) {
	p, verdicts := build(member{1, 0, true}, member{1, 0, true}, member{1, 1, true})
	all := p.View().Members.All
	all[0].SetUnused(true)
	p.SetMembers(NewMembers(all))
	if v := p.View(); len(v.Tiers) != 2 || len(v.Tiers[0].Backends) != 1 || v.Tiers[0].Backends[0] != all[1] {
		t.Errorf("tiers %+v", v.Tiers)
	}
	if healthy, serving := p.View().Healthy(); healthy != 2 || serving != 2 {
		t.Errorf("%d of %d are healthy, want 2 of 2", healthy, serving)
	}
	for _, v := range verdicts[1:] {
		v.Observe(errRefused, 1, 1)
	}
	p.Publish()
	if v := p.View(); len(v.Tiers) != 1 || v.Tiers[0].Backends[0] != all[0] || v.lenient {
		t.Errorf("tiers %+v", v.Tiers)
	}
}
