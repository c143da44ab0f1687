// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"slices"
	"testing"
)

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		weights []float64
		want    []int32
	}{
		{[]float64{5, 1, 1}, []int32{0, 1, 0, 0, 0, 2, 0}},
		{[]float64{10, 2, 2}, []int32{0, 1, 0, 0, 0, 2, 0}}, // divided by the greatest common divisor
		{[]float64{1, 1, 1}, []int32{0, 1, 2}},
		{[]float64{7}, []int32{0}},
		{[]float64{0, 1, 0, 2}, []int32{3, 1, 3}},
	} {
		if got := newSchedule(tt.weights); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.weights, got, tt.want)
		}
	}
}

// For any weights, a cycle holds each backend exactly in proportion to its weight, and spread
// evenly: the turns of a backend with n of them in a cycle of length L are due L/n apart, and each
// is placed in the slot in which it is due or, of d backends due in one slot, up to d-1 slots
// later.
func TestScheduleIsExactAndEven(t *testing.T) {
	random := weakrand.New(weakrand.NewPCG(1, 2))
	for range 300 {
		weights := make([]float64, 1+random.IntN(12))
		divisor := 0
		for i := range weights {
			weights[i] = float64(1 + random.IntN(30))
			divisor = gcd(divisor, int(weights[i]))
		}
		schedule := newSchedule(weights)
		last, gaps := make(map[int32]int), make(map[int32]int)
		count := make([]int, len(weights))
		for lap := range 2 {
			for i, b := range schedule {
				if lap == 0 {
					count[b]++
				} else {
					gaps[b] = max(gaps[b], i+len(schedule)-last[b])
				}
				last[b] = lap*len(schedule) + i
			}
		}
		for i, w := range weights {
			if want := int(w) / divisor; count[i] != want {
				t.Fatalf("%v: backend %d has %d turns, want %d", weights, i, count[i], want)
			}
			due := float64(len(schedule)) / float64(count[i])
			if limit := int(math.Ceil(due)) + len(weights); gaps[int32(i)] > limit {
				t.Errorf("%v: backend %d waits %d turns, want at most %d", weights, i, gaps[int32(i)], limit)
			}
		}
	}
}

func TestScheduleOfUnevenWeights(t *testing.T) {
	for _, weights := range [][]float64{
		{0.5, 0.25, 0.25},                   // not whole numbers
		{0.1, 0.37, 1.3},                    // not whole numbers
		{65535, 65534, 65533, 65531, 65529}, // a cycle longer than maxCycle
		{1e9, 1},
	} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			schedule, sum := newSchedule(weights), 0.0
			if len(schedule) > maxCycle+len(weights) {
				t.Fatalf("%d turns, want at most %d", len(schedule), maxCycle+len(weights))
			}
			count := make([]float64, len(weights))
			for _, b := range schedule {
				count[b]++
			}
			for _, w := range weights {
				sum += w
			}
			for i, w := range weights {
				// Rounding changes a share by half a turn, and by up to one for shares that are
				// raised to the minimum of one turn.
				share, want := count[i]/float64(len(schedule)), w/sum
				if count[i] == 0 || math.Abs(share-want) > 2/float64(len(schedule)) || len(schedule) < 1<<14 {
					t.Errorf("backend %d has a share of %v, want %v", i, share, want)
				}
			}
		})
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add(uint16(5), uint16(1), uint16(1))
	f.Add(uint16(65535), uint16(0), uint16(1))
	f.Fuzz(func(t *testing.T, a, b, c uint16) {
		weights := []float64{float64(a), float64(b), float64(c)}
		if a+b+c == 0 {
			return
		}
		for _, i := range newSchedule(weights) {
			if weights[i] == 0 {
				t.Fatalf("%v: backend %d has a turn", weights, i)
			}
		}
	})
}
