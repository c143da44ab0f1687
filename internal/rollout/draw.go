// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

// mixed returns well-mixed bits of x (the finalizer of splitmix64).
func mixed(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Draw maps a key to a number in [0, 1), evenly. A key belongs to the group if the number is below the group's
// share, so that a growing share gains keys and loses none. The salt belongs to the group, so that the numbers
// of different groups, and the choices of keyed policies, are independent.
func Draw(key, salt uint64) float64 {
	return float64(mixed(mixed(key+0x9e3779b97f4a7c15)^salt)>>11) / (1 << 53)
}

// Threshold returns the share that a group must get of the requests which earlier groups have not taken, so that
// it gets the given share of all requests. taken is the sum of the shares of the earlier groups.
func Threshold(share, taken float64) float64 {
	if left := 1 - taken; share < left {
		return share / left
	}
	return 1
}
