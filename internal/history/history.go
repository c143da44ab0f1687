// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package history keeps the latest values of a few figures of many things, in memory that is
// bounded.
package history

import (
	"math"
	"sync"
	"time"
)

const (
	// Step is the time between two values, and Length the number of values that are kept of a figure: 15
	// minutes in total.
	Step = 5 * time.Second
	// Length is described at Step.
	Length = 180
	// forgetAfter is the number of steps without a value after which a thing is forgotten.
	forgetAfter = 12
)

// Table keeps the figures of things, each named by a key. A thing takes 4*Length bytes for each
// figure, 720: with four figures 2.9 KB, so 1,000 backends take 2.9 MB. Safe for concurrent use.
type Table[K comparable] struct {
	counters, gauges, most int // read-only

	mu   sync.Mutex // guards the fields below
	tick uint64     // of the latest values; 0 for none
	at   time.Duration
	all  map[K]*series
}

// series has the values of one thing.
type series struct {
	first, last uint64 // ticks of the oldest and the latest value
	was         []int64
	at          time.Duration // of was
	values      []float32     // Length of each figure, by tick modulo Length
}

// NewTable returns a table of at most most things, each with so many counters, which are kept as
// rates per second, and gauges.
func NewTable[K comparable](counters, gauges, most int) *Table[K] {
	return &Table[K]{counters: counters, gauges: gauges, most: most, all: make(map[K]*series)}
}

// Next begins the values of a time, as of a monotonic clock. It must be called about every Step.
// Missing values of the time before are unknown, and so are those until the next call of Note.
func (t *Table[K]) Next(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps := uint64(1)
	if t.tick > 0 {
		steps = uint64(max(1, math.Round(float64(now-t.at)/float64(Step))))
	}
	t.tick, t.at = t.tick+steps, now
	for k, s := range t.all {
		if t.tick-s.last > forgetAfter {
			delete(t.all, k)
		}
	}
}

// Note notes the values of a thing at the time of the latest Next. A counter that is less than before
// was reset. A thing beyond the most of the table is not kept.
func (t *Table[K]) Note(key K, counters []int64, gauges []float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.all[key]
	if s == nil {
		if len(t.all) >= t.most {
			return
		}
		s = &series{first: t.tick, last: t.tick - 1, values: make([]float32, Length*(t.counters+t.gauges)), was: make([]int64, t.counters)}
		t.all[key] = s
	}
	known := s.last >= s.first
	for ; s.last+1 < t.tick; s.last++ { // what was missed
		for figure := range t.counters + t.gauges {
			s.set(figure, s.last+1, float32(math.NaN()))
		}
	}
	s.last = t.tick
	for i, n := range counters {
		rate := math.NaN()
		if elapsed := (t.at - s.at).Seconds(); known && elapsed > 0 {
			more := n - s.was[i]
			if more < 0 {
				more = n
			}
			rate = float64(more) / elapsed
		}
		s.set(i, t.tick, float32(rate))
		s.was[i] = n
	}
	for i, v := range gauges {
		s.set(t.counters+i, t.tick, float32(v))
	}
	s.at = t.at
}

func (s *series) set(figure int, tick uint64, v float32) {
	s.values[figure*Length+int(tick%Length)] = v
}

// Values are values of a figure, one for each Step. NaN stands for an unknown one.
type Values []float32

// Since returns the values of a thing after a tick: the tick of the first of them, and the values of
// each figure, the counters first. It returns nil if there are none.
func (t *Table[K]) Since(key K, after uint64) (from uint64, figures []Values) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.all[key]
	if s == nil || after >= s.last {
		return 0, nil
	}
	from = max(s.first, after+1)
	if s.last >= Length {
		from = max(from, s.last-Length+1)
	}
	for figure := range t.counters + t.gauges {
		values := make(Values, 0, s.last-from+1)
		for tick := from; tick <= s.last; tick++ {
			values = append(values, s.values[figure*Length+int(tick%Length)])
		}
		figures = append(figures, values)
	}
	return from, figures
}

// Tick returns the tick of the latest values, and when they were taken; 0 for none.
func (t *Table[K]) Tick() (tick uint64, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tick, t.at
}
