// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// maxRing bounds the points of a ring, unless a backend of weight 1 has more.
const maxRing = 1 << 19

// ring is a circle of hashes. Each backend has points on it, and owns the hashes between the
// preceding point and its own. It is read-only.
type ring struct {
	points []uint64 // sorted
	owners []int32  // of the points
	// first maps the leading bits of a hash, those left after shift, to the first point with
	// these bits or greater ones. It has about as many entries as there are points, so that a
	// search visits only one or two points.
	first []int32
	shift int
}

// newRing places unit points for each 1 of weight, at xxhash64("<id>_<number>") as Envoy and
// gRPC (gRFC A42) do.
//
// In Envoy and gRPC the total number of points is constant: when one of n backends leaves, the
// others get more points, and about 2/n of the keys move. Here the points of a backend depend
// only on its own weight, so 1/n of the keys move, until there would be more than maxRing
// points; above that, the total is constant.
func newRing(all []member, unit int) *ring {
	sum, _ := totals(all)
	scale := min(float64(unit), float64(max(maxRing, unit))/sum)
	n := 0
	for _, m := range all {
		n += share(m, scale)
	}
	// Sort by the leading bits first, which are random.
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
	// Insert each point in order among those with its leading bits. Equal hashes stay in the
	// order of the ids.
	placed := make([]int32, len(r.first))
	next := 0
	for _, m := range all {
		for range share(m, scale) {
			h := hashes[next]
			next++
			begin := int(r.first[h>>r.shift])
			position := begin + int(placed[h>>r.shift])
			placed[h>>r.shift]++
			for ; position > begin && r.points[position-1] > h; position-- {
				r.points[position], r.owners[position] = r.points[position-1], r.owners[position-1]
			}
			r.points[position], r.owners[position] = h, m.index
		}
	}
	return r
}

// share returns the number of points of a backend.
func share(m member, scale float64) int { return max(int(math.Round(m.weight*scale)), 1) }

// start returns the first point at or after the hash.
func (r *ring) start(h uint64) uint64 {
	position := int(r.first[h>>r.shift])
	for position < len(r.points) && r.points[position] < h {
		position++
	}
	if position == len(r.points) {
		return 0
	}
	return uint64(position)
}

func (r *ring) owner(pos uint64) int { return int(r.owners[pos]) }

// next returns the next point around the ring.
func (r *ring) next(pos uint64) uint64 {
	if pos++; pos < uint64(len(r.points)) {
		return pos
	}
	return 0
}
