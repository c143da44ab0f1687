// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"testing"
)

// equalMembers returns n backends of weight 1.
func equalMembers(n int) []member {
	ids, weights := make([]string, n), make([]float64, n)
	for i := range n {
		ids[i], weights[i] = fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256), 1
	}
	return members(ids, weights)
}

// BenchmarkBuild is the cost of a change of the pool, off the request path.
func BenchmarkBuild(b *testing.B) {
	for _, n := range benchSizes {
		all := equalMembers(n)
		for name, build := range map[string]func() hashTable{
			"ring_hash":  func() hashTable { return newRing(all, defaultMinRing) },
			"maglev":     func() hashTable { return newMaglev(all, maglevSizeFor(len(all))) },
			"rendezvous": func() hashTable { return newRendezvous(all, rendezvousBits) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					build()
				}
			})
		}
	}
}
