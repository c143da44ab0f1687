// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"sync/atomic"
	"time"
)

// Level is how much a request matters. Lower ones are refused first.
type Level int

// The levels, from the one that is refused last.
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

// LevelOf returns the level of a name, and false if there is none.
func LevelOf(name string) (Level, bool) {
	for l, n := range levelNames {
		if n == name {
			return Level(l), true
		}
	}
	return Normal, false
}

// reserve keeps room for levels that matter more (trunk reservation: where there
// is too much of a lower level, it fills its own share of the limit and leaves
// what is above to higher ones, whenever they come). How much room they need
// shows while they are refused. Safe for concurrent use.
type reserve struct {
	rank [levels]int // how many levels in use matter more
	all  int         // the number of levels in use

	kept [levels]atomic.Int64 // by rank: what it leaves to those above, beside what they leave
	last [levels]atomic.Int64 // by rank: when the one above was refused, or less is kept since
}

const (
	// keptPart is the part of the limit that is kept in any case.
	keptPart = 10
	// headroom is how many times a limit critical requests may fill, where the
	// limit is for how long answers take: while they are alone in there, they come
	// and go by themselves.
	headroom = 3
	// Less is kept, by a part, when those above have not been refused for a while.
	keptFor  = 4 * time.Second
	lessPart = 8
)

// of sets the levels that are in use.
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

// room returns how many may be in flight for one of that level to be let in.
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
	return max(1, limit-kept)
}

// refused learns from one of that level having been refused.
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
