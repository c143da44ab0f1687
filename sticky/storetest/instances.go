// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ballast-lb/caddy-ballast/sticky"
)

// instances checks that two instances, or the configurations around a reload, have the
// same sessions, also when one of them ends.
func instances(t *testing.T, u *suite) {
	b := to(1)
	mustBind(t, u, 1, b)
	for range 3 {
		other := u.open(t, u.scope)
		expect(t, other, 1, b, true)
		c := to(2)
		got, err := other.Move(within(t), 1, b.Backend, c)
		won(t, "Move by the other instance", got, err, c)
		u.close(t, other)
		expect(t, u, 1, c, true)
		b = c
		b.Backend = 3
		got, err = u.Move(within(t), 1, c.Backend, b)
		won(t, "Move after the other instance has ended", got, err, b)
	}
}

// oneWins checks that of those who bind, or move, a session at a time, one wins, and all
// are told which.
func oneWins(t *testing.T, u *suite) {
	other := u.open(t, u.scope)
	for round := range sticky.Key(100) {
		winners := make([]sticky.Binding, 8)
		var wg sync.WaitGroup
		for i := range winners {
			s := u.Sessions
			if i%2 == 0 {
				s = other
			}
			wg.Go(func() {
				var err error
				if round%2 == 0 {
					winners[i], err = s.BindIfAbsent(within(t), round, to(sticky.ID(i)))
				} else {
					winners[i], err = s.Move(within(t), round, 99, to(sticky.ID(i)))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, _, err := u.Get(within(t), round)
		for i, w := range winners {
			if err != nil || w != got {
				t.Fatalf("round %d: bound to %+v (%v), but call %d returned %+v", round, got, err, i, w)
			}
		}
	}
	u.close(t, other)
}

func concurrent(t *testing.T, u *suite) {
	other := u.open(t, u.scope)
	const backends = 5
	var wg sync.WaitGroup
	for g := range uint64(8) {
		s := u.Sessions
		if g%2 == 0 {
			s = other
		}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 3))
			for n := range 300 {
				key, b := sticky.Key(rng.IntN(100)), to(sticky.ID(rng.IntN(backends)))
				var err error
				switch rng.IntN(5) {
				case 0:
					b, _, err = s.Get(within(t), key)
				case 1:
					b, err = s.BindIfAbsent(within(t), key, b)
				case 2:
					err = s.Touch(within(t), key, now())
				case 3:
					b, err = s.Move(within(t), key, sticky.ID(rng.IntN(backends)), b)
				case 4:
					if n%50 == 0 {
						err = s.Forget(within(t), b.Backend)
					}
				}
				if err != nil || b.Backend >= backends {
					t.Errorf("got %+v (%v)", b, err)
				}
			}
		})
	}
	wg.Wait()
	u.close(t, other)
}
