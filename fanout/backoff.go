// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// backoff is how long to wait between two attempts.
type backoff struct {
	base, max, jitter time.Duration
}

// wait returns how long to wait before the n-th retry, counted from 0, where random
// is from 0 to 1: min(base x 2^n + jitter x random, max + jitter x random).
func (b backoff) wait(n int, random float64) time.Duration {
	d := b.max
	// Beyond 62 doublings any base is more than any max, and the shift overflows.
	if n < 63 && b.base <= b.max>>n {
		d = b.base << n
	}
	return d + time.Duration(random*float64(b.jitter))
}
