// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// backoff computes the wait between two tries.
type backoff struct {
	base, max, jitter time.Duration
}

// wait returns the wait before the n-th retry, counted from 0: min(base x 2^n + jitter x
// random, max + jitter x random), with random from 0 to 1.
func (b backoff) wait(n int, random float64) time.Duration {
	d := b.max
	// Beyond 62 doublings every base exceeds every max, and the shift would overflow.
	if n < 63 && b.base <= b.max>>n {
		d = b.base << n
	}
	return d + time.Duration(random*float64(b.jitter))
}
