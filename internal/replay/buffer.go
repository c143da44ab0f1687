// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import "sync"

// Buffers have 1 KiB to 256 KiB, and come from pools. Larger ones do not: they are rare.
const (
	smallest = 1 << 10
	factor   = 4
)

var pools [5]sync.Pool // of buffers with smallest × factor^i bytes

// buffer holds the first bytes of a body. A nil buffer is empty.
type buffer struct {
	data  []byte
	class int // index of pools; len(pools) for none
}

func (b *buffer) len() int {
	if b == nil {
		return 0
	}
	return len(b.data)
}

func (b *buffer) bytes() []byte { return b.data }

// append returns a buffer with p at its end, which replaces b. limit bounds its capacity, unless
// its bytes need more.
func (b *buffer) append(p []byte, limit int64) *buffer {
	need := b.len() + len(p)
	if b == nil || need > cap(b.data) {
		grown := newBuffer(need, limit)
		if b != nil {
			grown.data = append(grown.data, b.data...)
			b.free()
		}
		b = grown
	}
	b.data = append(b.data, p...)
	return b
}

func newBuffer(need int, limit int64) *buffer {
	size := smallest
	for class := range pools {
		if need <= size {
			if b, ok := pools[class].Get().(*buffer); ok {
				return b
			}
			return &buffer{make([]byte, 0, size), class}
		}
		size *= factor
	}
	return &buffer{make([]byte, 0, max(need, int(min(int64(2*need), limit)))), len(pools)}
}

// free gives the buffer back. The caller must not use it any more.
func (b *buffer) free() {
	if b != nil && b.class < len(pools) {
		b.data = b.data[:0]
		pools[b.class].Put(b)
	}
}
