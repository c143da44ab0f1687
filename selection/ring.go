// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// maxRing bounds the points of a ring, unless one of weight 1 has more.
const maxRing = 1 << 19

// ring is a circle of hashes. Each backend has points on it, and owns the
// hashes between a point of another and its own. Read-only.
type ring struct {
	points []uint64 // sorted
	owners []int32  // of the points
	// first is where the points begin whose leading bits, those that shift
	// leaves, are as the index says or greater. There are about as many
	// indexes as points, so that a search looks at one or two points only.
	first []int32
	shift int
}

// newRing places unit points for each 1 of weight, at
// xxhash64("<id>_<number>") as Envoy and gRPC (gRFC A42) do.
//
// Those have as many points in all, whatever there is in the ring: when one of
// n backends leaves, the others get more points, and about 2/n of the keys
// move. Here the points of a backend depend on its own weight, so 1/n moves,
// until there would be more than maxRing; then there are as many in all.
func newRing(all []member, unit int) *ring {
	sum, _ := totals(all)
	scale := min(float64(unit), float64(max(maxRing, unit))/sum)
	n := 0
	for _, m := range all {
		n += share(m, scale)
	}
	// Sort by the leading bits, which are random, first.
	r := &ring{points: make([]uint64, n), owners: make([]int32, n)}
	width := bits.Len(uint(n))
	r.shift = 64 - width
	r.first = make([]int32, 1<<width+1)
	hashes := make([]uint64, 0, n)
	var buf []byte
	for _, m := range all {
		buf = append(append(buf[:0], m.id...), '_')
		prefix := len(buf)
		for i := range share(m, scale) {
			buf = strconv.AppendInt(buf[:prefix], int64(i), 10)
			h := xxhash.Sum64(buf)
			hashes = append(hashes, h)
			r.first[h>>r.shift+1]++
		}
	}
	for i := 1; i < len(r.first); i++ {
		r.first[i] += r.first[i-1]
	}
	// Place each behind those of its leading bits that are placed and not
	// greater: equal hashes stay in the order of the ids.
	placed := make([]int32, len(r.first))
	next := 0
	for _, m := range all {
		for range share(m, scale) {
			h := hashes[next]
			next++
			begin := int(r.first[h>>r.shift])
			at := begin + int(placed[h>>r.shift])
			placed[h>>r.shift]++
			for ; at > begin && r.points[at-1] > h; at-- {
				r.points[at], r.owners[at] = r.points[at-1], r.owners[at-1]
			}
			r.points[at], r.owners[at] = h, m.index
		}
	}
	return r
}

// share returns the number of points of a backend.
func share(m member, scale float64) int { return max(int(math.Round(m.weight*scale)), 1) }

// start returns the first point that is not before the hash.
func (r *ring) start(h uint64) uint64 {
	at := int(r.first[h>>r.shift])
	for at < len(r.points) && r.points[at] < h {
		at++
	}
	if at == len(r.points) {
		return 0
	}
	return uint64(at)
}

func (r *ring) owner(pos uint64) int { return int(r.owners[pos]) }

// next returns the next point around the ring.
func (r *ring) next(pos uint64) uint64 {
	if pos++; pos < uint64(len(r.points)) {
		return pos
	}
	return 0
}
