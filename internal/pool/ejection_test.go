// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/loadreport"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

var someRules = &outlier.Rules{
	ConsecutiveErrors: 3, Interval: 10 * time.Second, MinRequests: 10, ErrorRatio: 0.85, Stall: time.Second,
	EjectFor: 30 * time.Second, MaxEjectFor: 100 * time.Second, MaxEjected: 0.5,
}

var errBroken = errors.New("broken")

// poolOf returns a pool of n backends with the rules.
func poolOf(n int, rules Options) (*Pool, []*backend.Backend) {
	p := NewPool("p")
	p.SetOptions(rules)
	var all []*backend.Backend
	for i := range n {
		id := fmt.Sprint("b", i)
		all = append(all, backend.New("p", backend.Endpoint{Address: id, Settings: backend.Settings{ID: id, Weight: new(1)}}, backend.NewState(), nil, nil))
	}
	p.SetMembers(NewMembers(all))
	return p, all
}

func reserve(b *backend.Backend) bool { _, ok := b.Reserve(); return ok }

// In any order of events, an ejection goes from phase to phase as it should, one
// trial is made at a time, it lasts for a multiple of 30 s and at most 100 s, and
// what is out or being tried gets no requests.
func TestEjectionMachine(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := weakrand.New(weakrand.NewPCG(seed, 0))
			_, all := poolOf(3, Options{Outliers: someRules})
			b := all[0]
			var trying []*backend.Attempt
			for range 300 {
				before, since := b.EjectionState(), clock.Now()
				switch random.IntN(6) {
				case 0, 1: // a request that is selected, sent, and ends
					if !b.Eligible() {
						break
					}
					if !reserve(b) {
						t.Fatal("an eligible backend cannot be reserved")
					}
					if before == outlier.HalfOpen && b.Eligible() {
						t.Fatal("two requests may have the trial")
					}
					a := &backend.Attempt{Start: clock.Now()}
					b.Begin(a)
					if trial := b.EjectionState() == outlier.Probing; before != outlier.Probing && trial != (before == outlier.HalfOpen) {
						t.Fatalf("in state %v the attempt is the trial: %v", before, trial)
					}
					trying = append(trying, a)
				case 2, 3: // one of those that are on their way ends
					if len(trying) == 0 {
						break
					}
					i := random.IntN(len(trying))
					a := trying[i]
					trying = append(trying[:i], trying[i+1:]...)
					switch random.IntN(3) {
					case 0:
						b.End(a, clock.Now(), errBroken, false)
					case 1:
						b.End(a, clock.Now(), errBroken, true)
					default:
						a.Status, a.FirstByte = 200, clock.Now()-a.Start
						b.Answer(a)
						b.End(a, clock.Now(), nil, false)
					}
				case 4:
					time.Sleep(time.Duration(random.IntN(20)) * time.Second)
				case 5:
					b.Expire(clock.Now())
				}
				after := b.EjectionState()
				legal := map[outlier.EjectionState][]outlier.EjectionState{outlier.Healthy: {outlier.Healthy, outlier.Ejected}, outlier.Ejected: {outlier.Ejected, outlier.HalfOpen}, outlier.HalfOpen: {outlier.HalfOpen, outlier.Probing}, outlier.Probing: {outlier.Probing, outlier.Healthy, outlier.Ejected, outlier.HalfOpen}}
				if !slices.Contains(legal[before], after) {
					t.Fatalf("seed %d: from %v to %v", seed, before, after)
				}
				if before != outlier.Ejected && after == outlier.Ejected {
					r := b.EjectionReport()
					want := min(time.Duration(r.Times)*30*time.Second, 100*time.Second)
					if got := r.Until - since; got != want {
						t.Fatalf("seed %d: ejection %d lasts %v, want %v", seed, r.Times, got, want)
					}
				}
				if (after == outlier.Ejected || after == outlier.Probing) && b.Eligible() {
					t.Fatalf("eligible while %v", after)
				}
			}
		})
	}
}

// A trial that a request was selected for, and that no attempt followed, is given
// to another after a second.
func TestTrialLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := poolOf(2, Options{Outliers: someRules})
		b := all[0]
		b.Eject(clock.Now(), someRules, "test", false)
		time.Sleep(30 * time.Second)
		if !b.Expire(clock.Now()) || !reserve(b) || b.Eligible() || reserve(b) {
			t.Fatal("not one trial")
		}
		time.Sleep(time.Second)
		if b.Eligible() {
			t.Error("given to another within a second")
		}
		time.Sleep(time.Millisecond)
		if !b.Eligible() || !reserve(b) {
			t.Error("lost for ever")
		}
	})
}

// The control loop reads the clock once a step, and says at each step that the backend is back.
func TestEndOfEjectionIsNotDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := poolOf(2, Options{Outliers: someRules})
		b := all[0]
		b.Eject(clock.Now(), someRules, "test", false)
		step := clock.Now()
		time.Sleep(time.Millisecond)
		b.Recovered()
		b.ExpireNow(step)
		b.ExpireNow(clock.Now())
		if !b.Expire(step) {
			t.Error("a later reading of the clock has deferred the end")
		}
	})
}

// However many goroutines eject, half of the pool is never exceeded, and the last
// that is available stays, with those that are down counted out.
func TestEjectInParallel(t *testing.T) {
	for _, c := range []struct{ n, down, most int }{{2, 0, 1}, {3, 0, 1}, {10, 0, 5}, {10, 7, 2}, {10, 9, 0}, {1, 0, 0}} {
		p := NewPool("p")
		p.SetOptions(Options{Outliers: someRules})
		var all []*backend.Backend
		for i := range c.n {
			id := fmt.Sprint("b", i)
			all = append(all, backend.New("p", backend.Endpoint{Address: id, Settings: backend.Settings{ID: id, Weight: new(1)}}, backend.NewState(), []*health.Status{health.NewStatus(i >= c.down)}, nil))
		}
		p.SetMembers(NewMembers(all))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for _, i := range weakrand.Perm(c.n) {
					if i >= c.down {
						p.Eject(all[i], "test", false)
					}
					p.Publish()
				}
			})
		}
		wg.Wait()
		out := 0
		for _, b := range all {
			if b.EjectionState() == outlier.Ejected {
				out++
			}
		}
		if out != c.most {
			t.Errorf("of %d, %d down, %d are ejected, want %d", c.n, c.down, out, c.most)
		}
		if v := p.View(); len(v.Tiers) == 0 {
			t.Errorf("of %d, %d down, none is left", c.n, c.down)
		}
	}
}

// Reports count after 10 s and for 3 minutes; with one backend that reports there
// is nothing to compare; the factor is relative to the configured weight and has
// bounds.
func TestUseReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, all := poolOf(4, Options{})
		all[1].Weight = new(3)
		report := func(weights ...float64) {
			for i, w := range weights {
				if w > 0 {
					all[i].Load.Report(clock.Now(), w, 0)
				}
			}
		}
		factors := func() (f [4]float64) {
			loadreport.UseReports(clock.Now(), all)
			for i, b := range all {
				f[i] = math.Round(b.Factors().Reported*100) / 100
			}
			return f
		}
		expect := func(want ...float64) {
			t.Helper()
			if got := factors(); got != [4]float64(want) {
				t.Errorf("factors %v, want %v", got, want)
			}
		}
		report(100, 300)
		expect(1, 1, 1, 1)
		time.Sleep(10*time.Second - time.Millisecond)
		report(100, 300, 400)
		expect(1, 1, 1, 1)
		time.Sleep(time.Millisecond)
		expect(1, 1, 1, 1) // the second has three times the weight, and takes three times as much
		report(200)
		expect(1.33, 0.67, 1, 1) // 200 and 100, for the weight
		report(1e9, 1)
		expect(2, 0.1, 1, 1)
		time.Sleep(3*time.Minute - time.Second)
		report(200)
		time.Sleep(time.Second)
		expect(1, 1, 1, 1) // only one is left
	})
}

// A tunnel that breaks is no error: it may have been the client, or Caddy, which
// closes those of the old configuration.
func TestBrokenTunnelsDoNotEject(t *testing.T) {
	_, all := poolOf(3, Options{Outliers: someRules})
	for range 10 {
		a := &backend.Attempt{Status: 101}
		all[0].Begin(a)
		all[0].Answer(a)
		all[0].End(a, time.Second, errBroken, false)
	}
	if all[0].EjectionState() != outlier.Healthy || all[0].Totals().Responses[1] != 10 || all[0].Failing() > 0 {
		t.Errorf("phase %v, %+v", all[0].EjectionState(), all[0].Totals())
	}
}
