// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// A change reaches all instances within the pause between two pushes, and an instance that joins
// gets all earlier changes.
func TestRecordsReachAllInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 3)
		for round := range 10 {
			value := fmt.Sprint("value ", round)
			all[round%3].set("k", value)
			within(t, 50*time.Millisecond, "change on all instances", func() bool { return has(all, "k", value) })
		}
		late := prepare(m, "late")
		late.user.Wait = 5 * time.Second
		late.Start(late.user)
		defer late.stop()
		select {
		case <-late.Synced():
		case <-time.After(time.Second):
			t.Error("not synced after 1s")
		}
		if got, _ := late.Get("k"); got != "value 9" {
			t.Errorf("an instance that joins has %q", got)
		}
		late.set("k2", "of the new one")
		within(t, 50*time.Millisecond, "change on all instances", func() bool { return has(all, "k2", "of the new one") })
	})
}

// Of successive changes of one key only the latest is pushed, and records are pushed in batches.
func TestChangesAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		m.Traffic()
		for round := range 100 {
			for key := range 20 {
				all[0].set(fmt.Sprint(key), fmt.Sprint(round))
			}
			time.Sleep(time.Millisecond)
		}
		within(t, 50*time.Millisecond, "last change", func() bool { return has(all, "19", "99") })
		// In 100 ms there are at most six rounds of pushes.
		if pushes := m.Traffic().Pushes.Calls; pushes > 7 {
			t.Errorf("%d pushes in 100ms, one each 20ms at most", pushes)
		}
		if s := all[0].Status(); s.Pending != 0 || s.Lag != 0 || s.Pushed > 7*20 {
			t.Errorf("%+v", s)
		}
	})
}

// While the store fails in any way, no queue grows without bound and the instances keep their
// records, and 3s after it works again all changes have reached all instances.
func TestStoreFaults(t *testing.T) {
	for name, fault := range map[string]func(f *fleettest.Faults, on bool){
		"fails": func(f *fleettest.Faults, on bool) {
			f.Fail(nil)
			if on {
				f.Fail(errors.New("connection refused"))
			}
		},
		"stalls": (*fleettest.Faults).Stall,
		"panics": (*fleettest.Faults).Panic,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := fleettest.NewMemory()
				all := fleetOf(t, m, 3)
				all[0].set("before", "x")
				within(t, 50*time.Millisecond, "change", func() bool { return has(all, "before", "x") })
				generation, share := all[0].Instances().Generation, all[0].Instances().Share(100, 0)
				goroutines := runtime.NumGoroutine()
				fault(&m.Faults, true)
				for round := range 300 {
					all[round%3].set(fmt.Sprint("during-", round), "x")
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
					// Each instance may have a call under way that it had not when they were counted.
					if n := runtime.NumGoroutine(); n > goroutines+len(all) {
						t.Fatalf("%d goroutines, %d before", n, goroutines)
					}
				}
				for _, i := range all {
					s := i.Status()
					if s.Store.Connected || s.Store.Error == "" || s.Store.Since == nil || time.Since(*s.Store.Since) < 25*time.Second {
						t.Errorf("the store is %+v", s.Store)
					}
					if s.Pending != 100 || s.Lag < 25*time.Second || s.Stale < 25*time.Second {
						t.Errorf("%d changes wait for %v, and changes were read %v ago", s.Pending, s.Lag, s.Stale)
					}
					if in := i.Instances(); in.Generation != generation || in.Share(100, 0) > 34 || in.Alone {
						t.Errorf("%+v, share %d after %d", in, in.Share(100, 0), share)
					}
				}
				fault(&m.Faults, false)
				within(t, 3*time.Second, "change of the time without the store", func() bool {
					for round := range 300 {
						if !has(all, fmt.Sprint("during-", round), "x") {
							return false
						}
					}
					return true
				})
				within(t, 3*heartbeat, "whole fleet", func() bool { return all[0].Instances().Len() == 3 && all[0].Status().Store.Connected })
				for _, i := range all {
					if lost, back := i.logged("the store of the fleet does not work; the instance goes on with what it knows"), i.logged("the store of the fleet works again"); lost != 1 || back != 1 {
						t.Errorf("%d times lost, %d times back", lost, back)
					}
				}
			})
		})
	}
}

// A store that has lost its records gets all of them from the instances, each about once.
func TestLostRecordsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const records = 5000
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 5)
		for key := range records {
			all[key%5].set(fmt.Sprint(key), "x")
		}
		within(t, time.Second, "all records on all instances", func() bool {
			for _, i := range all {
				if i.Len() != records {
					return false
				}
			}
			return true
		})
		m.Traffic()
		m.Lose()
		within(t, 3*time.Second, "all records in the store", func() bool { return len(m.Records()) == records })
		time.Sleep(5 * time.Second)
		for _, i := range all {
			if i.Status().Resyncs["loss"]+i.Status().Resyncs["gap"] == 0 || i.Status().Backfill || i.Len() != records {
				t.Errorf("%+v with %d records", i.Status(), i.Len())
			}
			if in := i.Instances(); in.Len() != 5 || !in.Settled() || in.Share(100, 0) != 20 {
				t.Errorf("%+v, share %d", in, in.Share(100, 0))
			}
		}
	})
}

// Two losses a few seconds apart do not delay changes longer than one: each also has a gap, but the
// pauses between the four resyncs do not add up.
func TestChangesAfterASecondLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		for n := range 3 {
			m.Lose()
			time.Sleep(2 * time.Second)
			for k := range 4 {
				key := fmt.Sprint(n, k)
				all[k%2].set(key, "x")
				within(t, time.Second, "a change after a loss", func() bool { return has(all, key, "x") })
			}
			time.Sleep(time.Second)
		}
	})
}

// After a loss, no share grows before all instances have had time for a beat.
func TestSharesDoNotGrowAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 5)
		for range 20 {
			m.Lose()
			for range 50 {
				time.Sleep(20 * time.Millisecond)
				for _, i := range all {
					if share := i.Instances().Share(100, 0); share > 20 {
						t.Fatalf("share %d of 100 of one of 5 instances", share)
					}
				}
			}
		}
	})
}

// After a gap in the changes, all records are read again.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 3)
		m.SetHistory(10)
		all[2].link.Stall(true)
		for key := range 100 {
			all[0].set(fmt.Sprint(key), "x")
			time.Sleep(30 * time.Millisecond)
		}
		all[2].link.Stall(false)
		within(t, 3*time.Second, "all records", func() bool { return all[2].Len() == 100 })
		if n := all[2].Status().Resyncs["gap"]; n == 0 {
			t.Error("no resync")
		}
		m.Gap()
		all[0].set("after", "x")
		within(t, 3*time.Second, "change after a gap", func() bool { return has(all, "after", "x") })
	})
}

// Changes that were dropped because there were too many are found in the topics.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const changes = 140_000
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		m.Stall(true)
		for key := range changes {
			all[0].set(fmt.Sprint(key), "x")
			if key%1000 == 0 {
				time.Sleep(time.Millisecond)
				// The changes of 20 ms, after which a push begins, are being pushed, and at most
				// 100,000 wait.
				if n := all[0].Status().Pending; n > 121_000 {
					t.Fatalf("%d changes wait", n)
				}
			}
		}
		if s := all[0].Status(); s.Overflows != 1 || s.Pending > 21_000 { // changes that are being pushed
			t.Errorf("%d overflows, %d changes wait", s.Overflows, s.Pending)
		}
		m.Stall(false)
		within(t, 10*time.Second, "all changes on the other instance", func() bool { return all[1].Len() == changes })
		if n := all[0].Status().Resyncs["overflow"]; n != 1 {
			t.Errorf("%d resyncs", n)
		}
	})
}

// After random changes on all instances, with stalled links, gaps and a loss of the store's
// records, all instances and the store have the same records: the latest change of each key.
func TestInstancesConverge(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			m := fleettest.NewMemory()
			m.SetHistory(20)
			all := fleetOf(t, m, 4)
			want := make(map[string]string)
			for step := range 300 {
				i := all[rng.IntN(len(all))]
				switch rng.IntN(20) {
				case 0:
					i.link.Stall(true)
				case 1:
					i.link.Fail(errors.New("gone"))
				case 2, 3, 4, 5:
					i.link.Stall(false)
					i.link.Fail(nil)
				case 6:
					if m.Gap(); rng.IntN(3) == 0 {
						m.Lose()
					}
				case 7:
					time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
				default:
					key, value := fmt.Sprint(rng.IntN(30)), fmt.Sprint(step)
					i.set(key, value)
					want[key] = value
				}
				// The instances share a clock, so the later change wins.
				time.Sleep(time.Duration(1+rng.IntN(50)) * time.Millisecond)
			}
			for _, i := range all {
				i.link.Stall(false)
				i.link.Fail(nil)
			}
			within(t, 40*time.Second, "same records everywhere", func() bool {
				stored := make(map[string]string)
				for _, r := range m.Records() {
					stored[r.Key] = string(r.Value)
				}
				for _, i := range all {
					if !maps.Equal(i.Values(), want) {
						return false
					}
				}
				return maps.Equal(stored, want)
			})
		})
	}
}

// A topic that joins later gets the existing records, from the store or from the other topic of the
// name, and further changes of each reach the other.
func TestLaterTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		other := fleettest.Join(all[0].Fleet, "test/other")
		other.Set(all[0].Fleet, "k", "v", time.Hour)
		time.Sleep(time.Second)
		late := fleettest.Join(all[1].Fleet, "test/other")
		within(t, time.Second, "record of a new topic", func() bool { v, _ := late.Get("k"); return v == "v" })
		second := fleettest.Join(all[1].Fleet, "test/other")
		within(t, time.Second, "record of a second topic", func() bool { v, _ := second.Get("k"); return v == "v" })
		late.Set(all[1].Fleet, "k", "w", time.Hour)
		within(t, 2*time.Second, "change of the other topic", func() bool { v, _ := second.Get("k"); return v == "w" })
		late.Leave()
		second.Set(all[1].Fleet, "k", "x", time.Hour)
		within(t, time.Second, "change", func() bool { v, _ := other.Get("k"); return v == "x" })
		if v, _ := late.Get("k"); v != "w" {
			t.Errorf("a topic that has left got %q", v)
		}
	})
}

// A panic of a topic affects neither other topics nor the fleet.
func TestTopicThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		all[1].Join("test/records", panics{})
		all[1].Join("test/panics", panics{})
		all[0].Join("test/panics", panics{}).Publish("k", all[0].Now(), nil, time.Hour)
		all[0].set("k", "v")
		m.Lose()
		within(t, 5*time.Second, "change", func() bool { return has(all, "k", "v") && len(m.Records()) > 0 })
		all[1].Watch(func(*fleet.Instances) { panic("watcher") })
		third := start(t, m, "third")
		within(t, time.Second, "third instance", func() bool { return all[1].Instances().Len() == 3 && has([]*instance{third}, "k", "v") })
	})
}

type panics struct{}

func (panics) Apply([]fleet.Record)        { panic("Apply") }
func (panics) All(func(fleet.Record) bool) { panic("All") }

// During a reload, also a rejected one, the instance neither leaves nor joins, and it uses the
// logger of the running configuration.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 2)
		a := all[0]
		generation := a.Instances().Generation
		rejected, next := *a.user, *prepare(m, "logs").user
		a.Start(&rejected)
		time.Sleep(time.Second)
		a.Stop(&rejected)
		next.Zone = "elsewhere"
		a.Start(&next)
		a.Stop(a.user)
		a.Stop(a.user)
		time.Sleep(2 * time.Second)
		if in := all[1].Instances(); in.Len() != 2 || in.All[in.Self^1].ID != a.ID() || in.All[in.Self^1].Zone != "elsewhere" {
			t.Errorf("%+v", in)
		}
		if n := all[1].logged("an instance has left the fleet"); n > 0 || a.Instances().Generation != generation+1 {
			t.Errorf("left %d times, generation %d after %d and a change of the zone", n, a.Instances().Generation, generation)
		}
		m.Fail(errors.New("gone"))
		time.Sleep(2 * time.Second)
		m.Fail(nil)
		time.Sleep(2 * time.Second)
		if n := a.logged("the store of the fleet does not work; the instance goes on with what it knows"); n > 0 {
			t.Error("logs to a configuration that has ended")
		}
		a.Stop(&next)
		within(t, 100*time.Millisecond, "departure", func() bool { return all[1].Instances().Len() == 1 })
		a.set("between", "x")
		a.Start(a.user)
		within(t, 3*time.Second, "return", func() bool { return all[1].Instances().Len() == 2 && has(all, "between", "x") })
	})
}

// An instance that stops pushes its last changes, leaves the fleet, and leaks no goroutine:
// otherwise the bubble does not end.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		all := fleetOf(t, m, 3)
		all[0].set("first", "x")
		time.Sleep(time.Millisecond)
		all[0].set("last", "x")
		all[0].stop()
		within(t, 100*time.Millisecond, "departure", func() bool {
			return all[1].Instances().Len() == 2 && has(all[1:], "last", "x")
		})
		m.Stall(true)
		time.Sleep(time.Second)
		began := time.Now()
		all[1].stop()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("stopped in %v without a store", took)
		}
		m.Stall(false)
	})
}

// An instance that cannot reach the store has the whole of each limit, and is synced after Wait.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		m.Stall(true)
		a := prepare(m, "a")
		a.user.Wait = 2 * time.Second
		if share := a.Instances().Share(10, 0); share != 0 {
			t.Errorf("share %d before the start", share)
		}
		changed := 0
		defer a.Watch(func(*fleet.Instances) { changed++ })()
		a.Start(a.user)
		defer a.stop()
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if in := a.Instances(); !in.Alone || in.Share(10, 0) != 10 || changed != 1 || in.All[in.Self].ID != a.ID() {
			t.Errorf("%+v, share %d, %d changes", in, in.Share(10, 0), changed)
		}
		began := time.Now()
		<-a.Synced()
		if waited := time.Since(began); waited < 1600*time.Millisecond || waited > 1800*time.Millisecond {
			t.Errorf("synced after %v", waited)
		}
		m.Stall(false)
		within(t, 3*time.Second, "store", func() bool { return !a.Instances().Alone && a.Instances().Share(10, 0) == 10 })
	})
}

// A nil fleet behaves like a single instance.
func TestNil(t *testing.T) {
	var f *fleet.Fleet
	f.Join("test/x", nil).Publish("k", f.Now(), nil, time.Hour)
	f.Join("test/x", nil).Leave()
	f.Watch(nil)()
	<-f.Synced()
	if i := f.Instances(); i.Share(7, 3) != 7 || i.Len() != 1 || !i.Settled() || f.ID() != "" || f.Now() == 0 || f.Status().ID != "" {
		t.Errorf("%+v", i)
	}
}
