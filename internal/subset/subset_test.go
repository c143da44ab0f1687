// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package subset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func names(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("10.0.0.", i, ":80"))
	}
	return ids
}

func count(in []bool) (n int) {
	for _, yes := range in {
		if yes {
			n++
		}
	}
	return n
}

// The numbers of instances that use a backend differ by at most one, and every instance uses n.
func TestRankedSubsetsAreEven(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		ids, n, all := names(1+rng.IntN(60)), 1+rng.IntN(30), 1+rng.IntN(80)
		users := make([]int, len(ids))
		for rank := range all {
			in := Ranked(ids, n, rank, all)
			if got := count(in); got != min(n, len(ids)) {
				t.Fatalf("%d of %d backends, want %d", got, len(ids), n)
			}
			for i := range in {
				if in[i] {
					users[i]++
				}
			}
		}
		if low, high := slices.Min(users), slices.Max(users); high-low > 1 {
			t.Fatalf("%d of %d backends on %d instances: from %d to %d instances use one", n, len(ids), all, low, high)
		}
	}
}

// changed returns by how many backends two subsets differ.
func changed(ids, before []string, was, is []bool) (n int) {
	in := make(map[string]bool)
	for i, id := range before {
		in[id] = was[i]
	}
	for i, id := range ids {
		if is[i] && !in[id] {
			n++
		}
	}
	return n
}

// When an instance joins or leaves anywhere in the order, the others change few backends; likewise
// when a backend does.
func TestRankedSubsetsMoveLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for range 100 {
		ids, all := names(2+rng.IntN(60)), 2+rng.IntN(80)
		n, gone := 1+rng.IntN(len(ids)), rng.IntN(all)
		most := (len(ids) + all - 2) / (all - 1)
		for rank := range all {
			if rank == gone {
				continue
			}
			left := rank
			if rank > gone {
				left--
			}
			if got := changed(ids, ids, Ranked(ids, n, rank, all), Ranked(ids, n, left, all-1)); got > most {
				t.Fatalf("%d of %d backends on %d instances: %d change when one leaves, at most %d may", n, len(ids), all, got, most)
			}
		}
		i := rng.IntN(len(ids))
		fewer := slices.Delete(slices.Clone(ids), i, i+1)
		for rank := range all {
			if got := changed(fewer, ids, Ranked(ids, n, rank, all), Ranked(fewer, n, rank, all)); got > 2 {
				t.Fatalf("%d of %d backends on %d instances: %d change when a backend leaves", n, len(ids), all, got)
			}
		}
	}
}

// Without ranks, at most one other backend changes when one leaves, and none when another order is
// given.
func TestRendezvousSubsetsMoveLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for range 100 {
		ids := names(2 + rng.IntN(60))
		n, instance := 1+rng.IntN(len(ids)), fmt.Sprint("instance ", rng.IntN(10))
		was := Rendezvous(ids, n, instance)
		if got := count(was); got != n {
			t.Fatalf("%d of %d backends, want %d", got, len(ids), n)
		}
		i := rng.IntN(len(ids))
		fewer := slices.Delete(slices.Clone(ids), i, i+1)
		rng.Shuffle(len(fewer), func(i, j int) { fewer[i], fewer[j] = fewer[j], fewer[i] })
		if got := changed(fewer, ids, was, Rendezvous(fewer, n, instance)); got > 1 {
			t.Fatalf("%d of %d backends: %d change when one leaves", n, len(ids), got)
		}
	}
}
