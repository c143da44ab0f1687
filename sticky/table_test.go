// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// model is what a table of one shard does, without regard to time and room.
type model struct {
	all   map[Key]*Binding
	order []Key // the longest idle first
	tableCounters
}

func (m *model) drop(k Key) {
	delete(m.all, k)
	m.order = slices.DeleteFunc(m.order, func(o Key) bool { return o == k })
}

func (m *model) put(k Key, b Binding) {
	m.drop(k)
	m.all[k] = &b
	m.order = append(m.order, k)
}

func (m *model) find(k Key, now int64, r *rules) *Binding {
	b := m.all[k]
	if b == nil {
		return nil
	}
	if alive, _ := r.Alive(*b, now); !alive {
		m.drop(k)
		m.expiries++
		return nil
	}
	return b
}

func (m *model) sweep(now int64, r *rules) {
	for range perCall {
		if len(m.order) == 0 {
			return
		}
		if alive, _ := r.Alive(*m.all[m.order[0]], now); alive {
			return
		}
		m.drop(m.order[0])
		m.expiries++
	}
}

func (m *model) evict(most int) {
	for range perCall {
		if len(m.all) >= most && len(m.order) > 0 {
			m.drop(m.order[0])
			m.evictions++
		}
	}
}

// bindTo and moveTo are the operations of a table, without versions.
func bindTo(t *table, k Key, b Binding, now int64, r *rules) Binding {
	winner, _ := t.bind(k, b, 0, now, r)
	return winner.Binding
}

func moveTo(t *table, k Key, from ID, to Binding, now int64, r *rules) Binding {
	winner, _ := t.move(k, from, to, 0, now, r)
	return winner.Binding
}

func number(n int) Key { return Key(n) }

// Whatever is done to a table, it does what a list and a map would. What is done is
// random, so are the lifetimes and how much there is room for; the clock is a number.
func TestTableIsAsTheModelSays(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tab, m := newTable(1), &model{all: make(map[Key]*Binding)}
		r := &rules{max: 1 + rng.IntN(40)}
		r.Idle = time.Duration(1+rng.IntN(100)) * time.Second
		if rng.IntN(2) == 0 {
			r.Absolute = time.Duration(1+rng.IntN(300)) * time.Second
		}
		now := int64(1000)
		for step := range 2000 {
			now += int64(rng.IntN(4))
			if rng.IntN(500) == 0 {
				now += int64(rng.IntN(200))
			}
			if rng.IntN(300) == 0 { // a reload
				r.max = 1 + rng.IntN(40)
			}
			k, b := number(rng.IntN(60)), Binding{Backend: ID(rng.IntN(5)), Issued: now, Seen: now}
			var got, want any
			switch op := rng.IntN(100); {
			case op < 40:
				gotB, ok := tab.get(k, now, r)
				got = []any{gotB, ok}
				w := m.find(k, now, r)
				m.sweep(now, r)
				if w != nil {
					m.hits++
					want = []any{*w, true}
				} else {
					m.misses++
					want = []any{Binding{}, false}
				}
			case op < 65:
				got = bindTo(tab, k, b, now, r)
				if w := m.find(k, now, r); w != nil {
					want = *w
				} else {
					m.sweep(now, r)
					m.evict(r.max)
					m.put(k, b)
					want = b
				}
			case op < 85:
				tab.touch(k, now, now, r)
				if w := m.find(k, now, r); w != nil {
					w.Seen = now
					m.put(k, *w)
				}
			case op < 98:
				from := ID(rng.IntN(5))
				got = moveTo(tab, k, from, b, now, r)
				if w := m.find(k, now, r); w != nil && w.Backend != from {
					want = *w
				} else {
					m.drop(k)
					m.evict(r.max)
					m.put(k, b)
					want = b
				}
			default:
				tab.forget(b.Backend, false)
				for k, w := range maps.Clone(m.all) {
					if w.Backend == b.Backend {
						m.drop(k)
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d, step %d: got %v, want %v", seed, step, got, want)
			}
			m.entries = len(m.all)
			if got := tab.counters(); got != m.tableCounters {
				t.Fatalf("seed %d, step %d: counted %+v, want %+v", seed, step, got, m.tableCounters)
			}
			perBackend := make(map[ID]int)
			for _, w := range m.all {
				perBackend[w.Backend]++
			}
			if got := tab.counts(); !maps.Equal(got, perBackend) {
				t.Fatalf("seed %d, step %d: backends have %v, want %v", seed, step, got, perBackend)
			}
		}
	}
}

func seconds10(max int) *rules { return &rules{Lifetimes: Lifetimes{Idle: 10 * time.Second}, max: max} }

func hashed(n int) Key { return Key(xxhash.Sum64String(fmt.Sprint("session ", n))) }

// A table never holds more than it may, and loses those first that were idle for
// longest, within what a share of it can know.
func TestTableIsBounded(t *testing.T) {
	tab, r := newTable(tableShards), &rules{Lifetimes: Lifetimes{Idle: time.Hour}, max: 6400}
	for n := range 20_000 {
		bindTo(tab, hashed(n), Binding{Backend: 1, Issued: 1000, Seen: 1000}, 1000, r)
		if n%1000 == 0 {
			if got := tab.counters().entries; got > r.max {
				t.Fatalf("%d entries, may have %d", got, r.max)
			}
		}
	}
	if got := tab.counters(); got.entries != r.max || got.evictions != 20_000-6400 {
		t.Errorf("%+v", got)
	}
	for n := 20_000 - 4000; n < 20_000; n++ { // a shard holds 100 of the latest: 4000 are 62 for each
		if _, ok := tab.get(hashed(n), 1000, r); !ok {
			t.Errorf("session %d was evicted before older ones", n)
		}
	}
	r.max = 640 // a reload
	for n := range 40_000 {
		bindTo(tab, hashed(100_000+n), Binding{Backend: 1, Issued: 1000, Seen: 1000}, 1000, r)
	}
	if got := tab.counters().entries; got != 640 {
		t.Errorf("%d entries after the bound was lowered to 640", got)
	}
}

// What is idle goes away while others come, without anybody asking for it.
func TestTableForgetsTheIdle(t *testing.T) {
	tab, r := newTable(1), seconds10(1_000_000)
	for n := range 10_000 {
		bindTo(tab, hashed(n), Binding{Issued: 1000, Seen: 1000}, 1000, r)
	}
	for n := range 5_001 {
		tab.get(hashed(-n), 1012, r)
	}
	if got := tab.counters(); got.entries != 0 || got.expiries != 10_000 {
		t.Errorf("%+v", got)
	}
}

// Of those who bind one session at a time, one wins, and all are told who.
func TestOneBindingWins(t *testing.T) {
	tab, r := newTable(tableShards), seconds10(1_000_000)
	for round := range 200 {
		winners := make([]Binding, 8)
		var wg sync.WaitGroup
		for i := range winners {
			wg.Go(func() {
				b := Binding{Backend: ID(i), Issued: 1000, Seen: 1000}
				if round%2 == 0 {
					winners[i] = bindTo(tab, hashed(round), b, 1000, r)
				} else {
					winners[i] = moveTo(tab, hashed(round), 99, b, 1000, r)
				}
			})
		}
		wg.Wait()
		if got, _ := tab.get(hashed(round), 1000, r); slices.ContainsFunc(winners, func(w Binding) bool { return w != got }) {
			t.Fatalf("bound to %v, but they were told %v", got, winners)
		}
	}
}

func TestTableInParallel(t *testing.T) {
	tab, r := newTable(tableShards), seconds10(2000)
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 2))
			for n := range 3000 {
				k, now := hashed(rng.IntN(4000)), int64(1000+n/100)
				b := Binding{Backend: ID(rng.IntN(5)), Issued: now, Seen: now}
				switch rng.IntN(8) {
				case 0, 1, 2:
					tab.get(k, now, r)
				case 3, 4:
					bindTo(tab, k, b, now, r)
				case 5:
					tab.touch(k, now, now, r)
				case 6:
					moveTo(tab, k, ID(rng.IntN(5)), b, now, r)
				case 7:
					if n%100 == 7 {
						tab.forget(b.Backend, false)
						tab.counts()
						tab.counters()
					}
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range tab.counts() {
		sum += n
	}
	if got := tab.counters().entries; got != sum || got > 2000 {
		t.Errorf("%d entries, the backends have %d", got, sum)
	}
}

// BenchmarkTable is of a table with a million sessions.
func BenchmarkTable(b *testing.B) {
	const million = 1_000_000
	r := &rules{Lifetimes: Lifetimes{Idle: time.Hour}, max: million}
	keys := make([]Key, 2*million)
	for n := range keys {
		keys[n] = hashed(n)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := newTable(tableShards)
	longest := time.Duration(0)
	for n := range million {
		began := time.Now()
		bindTo(tab, keys[n], Binding{Backend: ID(n % 10), Issued: 1000, Seen: 1000}, 1000, r)
		longest = max(longest, time.Since(began))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := float64(after.HeapAlloc-before.HeapAlloc) / float64(tab.counters().entries)
	b.Run("lookup", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = (n + 7919) % million
			tab.get(keys[n], 1001, r)
		}
		b.ReportMetric(1e9*float64(b.N)/float64(b.Elapsed()), "lookups/s")
		b.ReportMetric(bytes, "B/entry")
	})
	b.Run("lookup in parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			n := rand.IntN(million)
			for pb.Next() {
				n = (n + 7919) % million
				tab.get(keys[n], 1001, r)
			}
		})
	})
	b.Run("bind and evict", func(b *testing.B) {
		n := million
		for b.Loop() {
			n = (n + 1) % len(keys)
			began := time.Now()
			bindTo(tab, keys[n], Binding{Backend: 3, Issued: 1001, Seen: 1001}, 1001, r)
			longest = max(longest, time.Since(began))
		}
		b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		// Beside it, for how long the machine stops a loop that does nothing.
		nothing := time.Duration(0)
		for began := time.Now(); time.Since(began) < time.Second; {
			before := time.Now()
			nothing = max(nothing, time.Since(before))
		}
		b.ReportMetric(float64(nothing.Microseconds()), "longest-of-nothing-µs")
	})
	runtime.KeepAlive(tab)
}
