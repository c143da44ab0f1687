// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"testing"
	"unsafe"
)

// States lie one after the other in memory, and each begins with a cache line.
func TestStateFillsCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size%64 != 0 {
		t.Errorf("a State has %d bytes, which are %d too many or %d too few", size, size%64, 64-size%64)
	}
}
