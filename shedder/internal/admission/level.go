// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"sync/atomic"
	"time"
)

// Level is the priority of a request. Lower levels are refused first.
type Level int

// The levels, highest first.
const (
	Critical Level = iota
	High
	Normal
	Low
	Background
	levels
)

var levelNames = [levels]string{"critical", "high", "normal", "low", "background"}

// String returns the name in the configuration and in metrics.
func (l Level) String() string { return levelNames[l] }

// LevelNames returns the names of all levels, the most important first.
func LevelNames() []string { return levelNames[:] }

// LevelOf returns the level of a name, or false if there is none.
func LevelOf(name string) (Level, bool) {
	for l, n := range levelNames {
		if n == name {
			return Level(l), true
		}
	}
	return Normal, false
}

// reserve keeps slots free for higher levels (trunk reservation): excess requests of a lower level
// use at most the slots of their level, so that requests of higher levels are admitted whenever
// they come. A reserve grows while the higher level is refused. Safe for concurrent use.
type reserve struct {
	rank [levels]int // by level: the number of higher levels in use
	all  int         // the number of levels in use

	kept [levels]atomic.Int64 // by rank: slots reserved for the next higher rank, in addition to those of higher ranks
	last [levels]atomic.Int64 // by rank: time of the last refusal of the next higher rank, or of the last decrease of kept
}

const (
	// keptPart is the divisor of the part of a fixed limit that is always kept.
	keptPart = 10
	// headroom, times an adaptive limit, is the limit of critical requests. They may exceed the
	// adaptive limit because it only bounds latency.
	headroom = 3
	// A reserve shrinks by 1/lessPart when the higher level has not been refused for keptFor.
	keptFor  = 4 * time.Second
	lessPart = 8
)

// of sets the levels in use.
func (r *reserve) of(inUse []Level) {
	var used [levels]bool
	for _, l := range inUse {
		used[l] = true
	}
	for l := range used {
		r.rank[l] = r.all
		if used[l] {
			r.all++
		}
	}
}

// room returns the limit for requests of a level.
func (r *reserve) room(limit int64, learns bool, l Level) int64 {
	if r.all < 2 {
		return limit
	}
	rank := r.rank[l]
	if learns && l == Critical {
		return headroom * limit
	}
	kept := int64(0)
	for i := 1; i <= rank && i < len(r.kept); i++ {
		kept += r.kept[i].Load()
		if !learns {
			kept += (limit + keptPart - 1) / keptPart
		}
	}
	return max(min(1, limit), limit-kept)
}

// refused updates the reserves after the refusal of a request of a level.
func (r *reserve) refused(now time.Duration, limit int64, l Level) {
	if r.all < 2 {
		return
	}
	rank := r.rank[l]
	if below := rank + 1; below < r.all {
		r.last[below].Store(int64(now))
		if r.kept[below].Load() < limit {
			r.kept[below].Add(1)
		}
	}
	if rank == 0 {
		return
	}
	last := r.last[rank].Load()
	if int64(now)-last < int64(keptFor) || !r.last[rank].CompareAndSwap(last, int64(now)) {
		return
	}
	if kept := r.kept[rank].Load(); kept > 0 {
		r.kept[rank].CompareAndSwap(kept, kept-max(1, kept/lessPart))
	}
}
