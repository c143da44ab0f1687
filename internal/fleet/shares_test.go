// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// limits are limits to divide, and the salts that determine their remainders.
var limits = []struct {
	n    int
	salt uint64
}{{1, 0}, {3, 1}, {7, 1<<64 - 1}, {100, 12345}, {1000, 1 << 63}}

// The shares of a settled fleet of any size add up to the limit, and differ by at most one.
func TestSharesAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		var all []*instance
		for n := 1; n <= 12; n++ {
			all = append(all, start(t, m, fmt.Sprint("i", n)))
			within(t, 3*heartbeat, "settled fleet", func() bool { return settled(all) })
			for _, l := range limits {
				sum, least, most := 0, l.n, 0
				for _, i := range all {
					share := i.Instances().Share(l.n, l.salt)
					sum, least, most = sum+share, min(least, share), max(most, share)
				}
				if sum != l.n || most-least > 1 {
					t.Errorf("%d instances have %d of %d, each %d to %d", n, sum, l.n, least, most)
				}
			}
		}
	})
}

// After an outage of the store, instances count as dead until their next beat. The others do not
// get their shares: the sum never exceeds the limit, and soon the shares are as before.
func TestSharesAfterAnOutage(t *testing.T) {
	for seed := range 20 {
		synctest.Test(t, func(t *testing.T) {
			m := fleettest.NewMemory()
			all := fleetOf(t, m, 5)
			sum := func() (sum int) {
				for _, i := range all {
					sum += i.Instances().Share(12, 7)
				}
				return sum
			}
			for _, i := range all {
				i.link.Fail(errors.New("cut off"))
			}
			time.Sleep(time.Duration(4+seed) * heartbeat)
			for _, i := range all {
				i.link.Fail(nil)
			}
			for range 1000 {
				time.Sleep(10 * time.Millisecond)
				if n := sum(); n > 12 {
					t.Fatalf("the shares of 12 add up to %d", n)
				}
			}
			if n := sum(); n != 12 || !settled(all) {
				t.Errorf("after 10 s the shares of 12 add up to %d; settled: %v", n, settled(all))
			}
		})
	}
}

func settled(all []*instance) bool {
	for _, i := range all {
		if in := i.Instances(); in.Alone || in.Len() != len(all) || !in.Settled() {
			return false
		}
	}
	return true
}

// schedule is a random schedule of instances that start, stop, crash, and are partitioned from the
// store, over links with delays.
type schedule struct {
	*testing.T
	rng     *rand.Rand
	m       *fleettest.Memory
	all     []*instance // running instances
	cut     *instance   // partitioned from the store now, or less than quiet ago; nil for none
	mended  time.Time   // end of the partition; zero during it
	above   [5]time.Time
	longest time.Duration
	started int
}

// quiet is the longest time in which a change reaches all instances.
const quiet = 3 * heartbeat

// check tests the sums of all shares. It is called after each change.
func (s *schedule) check() {
	now := time.Now()
	if s.cut != nil && !s.mended.IsZero() && now.Sub(s.mended) > quiet {
		s.cut = nil
	}
	for k, l := range limits {
		sum, others, most := 0, 0, 0
		for _, i := range s.all {
			share := i.Instances().Share(l.n, l.salt)
			sum, most = sum+share, max(most, share)
			if i != s.cut {
				others += share
			}
		}
		if sum > l.n+most {
			s.Errorf("the shares of %d add up to %d, more than by one share", l.n, sum)
		}
		// Without the partitioned one, whose share the others may already have.
		if others <= l.n {
			s.above[k] = time.Time{}
		} else if s.above[k].IsZero() {
			s.above[k] = now
		}
		if !s.above[k].IsZero() {
			if s.longest = max(s.longest, now.Sub(s.above[k])); s.longest > quiet {
				s.Errorf("the shares of %d add up to %d for %v", l.n, others, s.longest)
			}
		}
	}
}

func (s *schedule) start() {
	s.started++
	i := prepare(s.m, fmt.Sprintf("i%d-%d", s.rng.IntN(10), s.started))
	longest := time.Duration(s.rng.IntN(80)) * time.Millisecond
	i.link.Delay(func() time.Duration { return rand.N(longest + 1) })
	i.Start(i.user)
	s.all = append(s.all, i)
}

// take removes a running instance that is not partitioned.
func (s *schedule) take() *instance {
	for _, at := range s.rng.Perm(len(s.all)) {
		if i := s.all[at]; i != s.cut {
			s.all = append(s.all[:at:at], s.all[at+1:]...)
			return i
		}
	}
	return nil
}

func (s *schedule) step() {
	switch s.rng.IntN(10) {
	case 0, 1, 2:
		if len(s.all) < 8 {
			s.start()
		}
	case 3, 4:
		if i := s.take(); i != nil {
			i.stop()
		}
	case 5, 6: // crashes
		if i := s.take(); i != nil {
			i.link.Stall(true)
			i.stop()
		}
	case 7:
		switch {
		case s.cut == nil && len(s.all) > 0:
			s.cut, s.mended = s.all[s.rng.IntN(len(s.all))], time.Time{}
			s.cut.link.Stall(true)
		case s.cut != nil && s.mended.IsZero():
			s.cut.link.Stall(false)
			s.mended = time.Now()
		}
	default:
		s.pass(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
	}
	s.pass(time.Duration(s.rng.IntN(100)) * time.Millisecond)
}

// pass lets time pass, and checks the shares continually.
func (s *schedule) pass(d time.Duration) {
	for end := time.Now().Add(d); !s.Failed(); time.Sleep(5 * time.Millisecond) {
		synctest.Wait()
		s.check()
		if !time.Now().Before(end) {
			return
		}
	}
}

// In random schedules of starts, stops and crashes, the shares of the instances that reach the
// store add up to at most the limit, or to at most one share more for at most three heartbeats. In
// the end they add up to the limit.
func TestSharesInRandomSchedules(t *testing.T) {
	longest := time.Duration(0)
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &schedule{T: t, rng: rand.New(rand.NewPCG(seed, 0)), m: fleettest.NewMemory()}
				for range 40 {
					s.step()
					if t.Failed() {
						t.FailNow()
					}
				}
				if s.cut != nil {
					s.cut.link.Stall(false)
				}
				if len(s.all) == 0 {
					s.start()
				}
				within(t, 3*quiet, "settled fleet", func() bool { return settled(s.all) })
				for _, l := range limits {
					sum := 0
					for _, i := range s.all {
						sum += i.Instances().Share(l.n, l.salt)
					}
					if sum != l.n {
						t.Errorf("%d instances have %d of %d", len(s.all), sum, l.n)
					}
				}
				for _, i := range s.all {
					i.stop()
				}
				longest = max(longest, s.longest)
			})
		})
	}
	t.Logf("above the limit for at most %v", longest)
}

// Watchers are called after each change of a share.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		a := prepare(m, "a")
		var shares []int
		cancel := a.Watch(func(i *fleet.Instances) { shares = append(shares, i.Share(100, 0)) })
		a.Start(a.user)
		defer a.stop()
		time.Sleep(time.Second)
		b := start(t, m, "b")
		time.Sleep(time.Second)
		b.stop()
		time.Sleep(time.Second)
		synctest.Wait()
		if last := len(shares) - 1; last < 2 || shares[0] != 100 || shares[last] != 100 || shares[last-1] != 50 {
			t.Errorf("shares %v", shares)
		}
		cancel()
		before := len(shares)
		start(t, m, "c")
		time.Sleep(time.Second)
		synctest.Wait()
		if len(shares) != before {
			t.Error("called after cancel")
		}
	})
}

// When Synced is closed, the watchers have applied the first shares.
func TestSyncedWithShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, share := prepare(fleettest.NewMemory(), "a"), 0
		a.user.Wait = 5 * time.Second
		a.Watch(func(i *fleet.Instances) {
			time.Sleep(100 * time.Millisecond) // the records are read in the meantime
			share = i.Share(3, 0)
		})
		began := time.Now()
		a.Start(a.user)
		defer a.stop()
		<-a.Synced()
		if took := time.Since(began); share != 3 || took > time.Second {
			t.Errorf("synced after %v with a share of %d of 3", took, share)
		}
	})
}
