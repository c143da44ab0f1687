// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// A large fleet.
const (
	simInstances = 1000
	simBackends  = 10_000
)

// simTable is a topic with a record for each backend. It keeps only the version.
type simTable struct {
	versions []atomic.Uint64
	count    atomic.Int64
	sessions atomic.Int64
}

// simValue is the typical state of a backend.
var simValue = []byte(`{"weight":10,"max_requests":100,"zone":"eu-1a","meta":{"rack":"r17"},"by":"edge-0001-0123abcd"}`)

func simKey(backend int) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(backend)))
}

func (s *simTable) Apply(records []fleet.Record) {
	for i := range records {
		if len(records[i].Key) != 4 {
			s.sessions.Add(1)
			continue
		}
		v := &s.versions[binary.LittleEndian.Uint32([]byte(records[i].Key))]
		if old := v.Load(); records[i].Version > old {
			if v.Store(records[i].Version); old == 0 {
				s.count.Add(1)
			}
		}
	}
}

func (s *simTable) All(yield func(fleet.Record) bool) {
	for i := range s.versions {
		if v := s.versions[i].Load(); v > 0 && !yield(fleet.Record{Key: simKey(i), Version: v, Value: simValue, TTL: time.Hour}) {
			return
		}
	}
}

type simInstance struct {
	*fleet.Fleet
	table *simTable
	p     *fleet.Publisher
	user  *fleet.User
}

// simulation is the fleet and its store.
type simulation struct {
	*testing.T
	m   *fleettest.Memory
	all []*simInstance
}

func (s *simulation) start(n int) *simInstance {
	i := &simInstance{Fleet: fleet.New(fmt.Sprintf("edge-%04d", n)), table: &simTable{versions: make([]atomic.Uint64, simBackends)}}
	i.p = i.Join("pools/web", i.table)
	link := s.m.Link()
	link.Delay(func() time.Duration { return 500*time.Microsecond + rand.N(time.Millisecond) })
	i.user = &fleet.User{Store: link, Zone: fmt.Sprint("zone-", n%3), Version: "Caddy v2.11.9, Ballast v0.9.0"}
	i.Start(i.user)
	return i
}

// set changes a backend on an instance.
func (i *simInstance) set(backend int) uint64 {
	version := i.Now()
	i.table.Apply([]fleet.Record{{Key: simKey(backend), Version: version}})
	i.p.Publish(simKey(backend), version, simValue, time.Hour)
	return version
}

// until lets time pass until a condition holds on all instances, and returns how long that took.
func (s *simulation) until(what string, most time.Duration, wanted func(*simInstance) bool) time.Duration {
	s.Helper()
	began := time.Now()
	next := 0
	for {
		for next < len(s.all) && wanted(s.all[next]) {
			next++
		}
		if next == len(s.all) {
			return time.Since(began)
		}
		if time.Since(began) > most {
			s.Fatalf("%s: only %d of %d instances after %v", what, next, len(s.all), most)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// row logs the traffic of the store since the previous row.
func (s *simulation) row(what string, took time.Duration, note string) {
	traffic := s.m.Traffic()
	total := traffic.Total()
	perSecond := func(n int) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6/max(1, took.Seconds())) }
	s.Logf("| %s | %v | %.0f | %s | %s | %s |", what, took.Round(time.Millisecond), float64(total.Calls)/max(1, took.Seconds()), perSecond(total.In), perSecond(total.Out), note)
}

// TestSimulationFleet is a fleet of 1,000 instances with 10,000 backends. It prints the table of
// docs/fleet.md: how long changes take to reach all instances, and the traffic of the store in a
// second.
func TestSimulationFleet(t *testing.T) {
	lbtest.Simulation(t)
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{T: t, m: fleettest.NewMemory()}
		s.m.SetHistory(100_000)
		t.Log("| phase | time | calls/s | in/s | out/s | |")

		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		first := s.start(0)
		s.all = append(s.all, first)
		time.Sleep(2 * time.Second)
		for b := range simBackends {
			first.set(b)
		}
		for n := 1; n < simInstances; n++ {
			s.all = append(s.all, s.start(n))
			time.Sleep(20 * time.Millisecond)
		}
		s.until("instances start", time.Minute, func(i *simInstance) bool {
			return i.table.count.Load() == simBackends && i.Instances().Len() == simInstances
		})
		s.row("1,000 instances start, 50 a second", time.Since(began), "")
		settled := s.until("shares settle", 10*time.Second, func(i *simInstance) bool { return i.Instances().Settled() })
		s.row("shares settle after the last", settled, "")
		runtime.GC()
		runtime.ReadMemStats(&after)
		t.Logf("memory: %d KB for each instance, with a table of %d KB", (after.HeapAlloc-before.HeapAlloc)/simInstances/1000, simBackends*8/1000)

		time.Sleep(10 * time.Second)
		s.m.Traffic()
		time.Sleep(10 * time.Second)
		s.row("nothing changes", 10*time.Second, "")

		slowest := time.Duration(0)
		for range 20 {
			b := rand.IntN(simBackends)
			version := s.all[rand.IntN(simInstances)].set(b)
			slowest = max(slowest, s.until("change", time.Second, func(i *simInstance) bool { return i.table.versions[b].Load() >= version }))
			time.Sleep(50 * time.Millisecond)
		}
		s.m.Traffic()
		for range 200 {
			s.all[rand.IntN(simInstances)].set(rand.IntN(simBackends))
			time.Sleep(10 * time.Millisecond)
		}
		s.row("100 changes of backends a second", 2*time.Second, fmt.Sprintf("known to all after at most %v", slowest))
		if slowest > 100*time.Millisecond {
			t.Errorf("a change reached all instances after %v", slowest)
		}

		for n := range 500 {
			i := s.all[rand.IntN(simInstances)]
			i.p.Publish(fmt.Sprintf("%08d", n), 1<<48, make([]byte, 12), time.Hour)
			time.Sleep(2 * time.Millisecond)
		}
		s.row("500 sessions a second", time.Second, "")

		for n := range 10 {
			old := s.all[n]
			old.Stop(old.user)
			s.all[n] = s.start(simInstances + n)
			time.Sleep(time.Second)
		}
		s.row("an instance a second is replaced", 10*time.Second, "")
		s.until("replaced instances", 10*time.Second, func(i *simInstance) bool {
			return i.Instances().Len() == simInstances && i.Instances().Settled() && i.table.count.Load() == simBackends
		})
		s.m.Traffic()

		s.m.Lose()
		began = time.Now()
		for len(s.m.Records()) < simBackends {
			time.Sleep(20 * time.Millisecond)
		}
		back := time.Since(began)
		s.until("instances after the loss", 30*time.Second, func(i *simInstance) bool {
			status := i.Status()
			return i.Instances().Len() == simInstances && i.Instances().Settled() && !status.Backfill
		})
		s.row("the store loses everything", time.Since(began), fmt.Sprintf("all records are back after %v", back.Round(time.Millisecond)))
		if back > 10*time.Second {
			t.Errorf("the store has all records again after %v", back)
		}
		var stops sync.WaitGroup
		for _, i := range s.all {
			stops.Go(func() { i.Stop(i.user) })
		}
		stops.Wait()
	})
}
