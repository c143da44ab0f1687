// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "testing"

// The vector is the ninth of the reference implementation: the key is the bytes 0 to 15, and the
// message the bytes 0 to 7.
func TestHashIsSipHash(t *testing.T) {
	key := hashKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	if got := key.hash(0x0706050403020100); got != 0x93f5f5799a932462 {
		t.Errorf("%#x", got)
	}
}
