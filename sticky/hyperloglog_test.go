// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// The estimate is within five sigma, 5 x 1.04/sqrt(1024) = 16 %, of any number, and
// better below the number of registers, where it counts those that are still empty:
// its error there is that of balls in bins, below sqrt(n)/2 for n balls in 1,024.
func TestSketchCounts(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 40, 200, 1000, 2500, 5000, 20_000, 100_000, 1_000_000} {
		for _, random := range []bool{true, false} {
			var s hyperLogLog
			for i := range n {
				k := Key(i)
				if random {
					k = Key(rand.Uint64())
				}
				s.add(k)
				s.add(k)
			}
			var t1 hllRegisters
			t1.add(&s)
			bound := 0.16 * float64(n)
			if n <= 1000 {
				bound = 5 * math.Sqrt(float64(n)) / 2
			}
			if got := t1.count(); math.Abs(got-float64(n)) > bound {
				t.Errorf("%d sessions count as %.1f, which is off by more than %.1f", n, got, bound)
			}
			var t2 hllRegisters
			if t2.add(&s); t2.count() != 0 {
				t.Error("what was taken is still there")
			}
		}
	}
}

// No session is lost of those that are shown at once.
func TestSketchInParallel(t *testing.T) {
	var alone, together hyperLogLog
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				together.add(Key(i*4 + part))
			}
		})
	}
	for i := range 20_000 {
		alone.add(Key(i))
	}
	wg.Wait()
	var a, b hllRegisters
	a.add(&alone)
	b.add(&together)
	if a != b {
		t.Error("the registers differ")
	}
}

// Sessions of several sketches are counted once.
func TestRegistersUnion(t *testing.T) {
	var union hllRegisters
	for part := range 6 {
		var s hyperLogLog
		for i := range 600 {
			s.add(Key(i + 50*part)) // 850 in all
		}
		var one hllRegisters
		one.add(&s)
		union.merge(&one)
	}
	if got := union.count(); math.Abs(got-850) > 5*math.Sqrt(850)/2 {
		t.Errorf("850 sessions count as %.1f", got)
	}
}

// A backend that has its share moves none, whatever chance does; one that has more
// than the ratio moves until it has its share, a third of the rest at a time, and
// never below.
func TestOverloadDetector(t *testing.T) {
	var s overloadDetector
	for range 100 {
		if n := s.update(47, 40, 1.2, 1); n != 0 {
			t.Fatalf("below the ratio %d move", n)
		}
	}
	count, windows := 67.0, 0
	for ; count > 40; windows++ {
		n := s.update(count, 40, 1.2, 1)
		if n < 1 || float64(n) > math.Ceil((count-40)/3) {
			t.Fatalf("of %v sessions %d may move, where 40 are fair", count, n)
		}
		count -= float64(n)
	}
	if windows > 12 {
		t.Errorf("it took %d windows", windows)
	}
	if n := s.update(count, 40, 1.2, 1); n != 0 {
		t.Errorf("with a fair share %d move", n)
	}
	if n := s.update(1, 0, 1.2, 0.5); n != 1 {
		t.Errorf("where none are fair %d of one move", n)
	}
}

// Counts of a tenth of the sessions differ by chance. In 100,000 windows of a backend
// that has its share, 4 sigma are reached 3 times by a normal distribution and some
// ten by a binomial one of few; bounded here by 50.
func TestOverloadIsNoChance(t *testing.T) {
	var s overloadDetector
	began := 0
	for range 100_000 {
		n := 0
		for range 40 {
			if rand.IntN(10) == 0 {
				n++
			}
		}
		was := s.overloaded
		s.update(float64(n), 4, 1.2, 0.1)
		if s.overloaded && !was {
			began++
		}
	}
	if began > 50 {
		t.Errorf("it was crowded %d times", began)
	}
}

// Those that were idle for longest come first.
func TestPatience(t *testing.T) {
	for _, grain := range []int64{1, 180, 365 * 86400} {
		last := grain + 1
		for passed := 0.0; passed <= 1; passed += 0.01 {
			p := minIdle(grain, passed)
			if p > last || p < 0 {
				t.Fatalf("of %d s: %d after %v", grain, p, passed)
			}
			last = p
		}
		if got := minIdle(grain, 0); got < grain-1 || got > grain {
			t.Errorf("begins with %d of %d s", got, grain)
		}
		if got := minIdle(grain, 1); got != 0 {
			t.Errorf("ends with %d of %d s", got, grain)
		}
	}
}

// Sessions go where there is room, in proportion, and all requests of one to the
// same backend.
func TestMovesGoWhereThereIsRoom(t *testing.T) {
	m := &rebalancePlan{deficits: []deficit{{1, 10}, {2, 40}, {3, 100}}}
	got := make(map[ID]int)
	for i := range 100_000 {
		to, ok := m.target(Key(i))
		again, _ := m.target(Key(i))
		if !ok || to != again {
			t.Fatalf("%d goes to %d, and then to %d", i, to, again)
		}
		got[to]++
	}
	for id, want := range map[ID]float64{1: 10_000, 2: 30_000, 3: 60_000} {
		if math.Abs(float64(got[id])-want) > 5*math.Sqrt(want) {
			t.Errorf("%d gets %d, want %v", id, got[id], want)
		}
	}
	if _, ok := (*rebalancePlan)(nil).target(1); ok {
		t.Error("there is room before there is any word of it")
	}
}
