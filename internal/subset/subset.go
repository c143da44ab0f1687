// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package subset chooses the backends that each of many instances uses, so that not every instance has connections to every
// backend.
package subset

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Ranked returns which of the given ids belong to the subset of size n of the instance with a rank among all instances. The
// ids are on a ring, in the order of their hashes, and each instance has a window of n ids. The windows begin at even
// distances, so the numbers of instances that use an id differ by at most one. When an instance joins or leaves, windows
// move by at most one distance: with m ids and k instances, the subset of an instance changes by at most m/k ids, rounded
// up. With gRFC A68, the whole subset changes when the rank of an instance changes.
func Ranked(ids []string, n, rank, all int) []bool {
	in := make([]bool, len(ids))
	if n >= len(ids) {
		return whole(in)
	}
	ring := sortedBy(ids, xxhash.Sum64String)
	first := rank * len(ids) / max(all, 1)
	for i := range n {
		in[ring[(first+i)%len(ring)]] = true
	}
	return in
}

// Rendezvous returns which of the given ids belong to the subset of size n of an instance that does not know the other
// instances: those with the greatest hashes of instance and id. When an id joins or leaves, at most one other id changes.
func Rendezvous(ids []string, n int, instance string) []bool {
	in := make([]bool, len(ids))
	if n >= len(ids) {
		return whole(in)
	}
	var d xxhash.Digest
	for _, i := range sortedBy(ids, func(id string) uint64 {
		d.Reset()
		_, _ = d.WriteString(instance)
		_, _ = d.Write([]byte{0})
		_, _ = d.WriteString(id)
		return d.Sum64()
	})[len(ids)-n:] {
		in[i] = true
	}
	return in
}

func whole(in []bool) []bool {
	for i := range in {
		in[i] = true
	}
	return in
}

// sortedBy returns the indices of ids in the order of a hash.
func sortedBy(ids []string, hash func(string) uint64) []int {
	hashes, order := make([]uint64, len(ids)), make([]int, len(ids))
	for i, id := range ids {
		hashes[i], order[i] = hash(id), i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(hashes[a], hashes[b]), cmp.Compare(ids[a], ids[b]))
	})
	return order
}
