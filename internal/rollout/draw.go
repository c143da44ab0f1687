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

// Draw returns the place of a key, in [0, 1). A key belongs to a group whose share is above its
// place: a share that rises gains keys and loses none. The salt is that of the group, so that the
// places in two groups, and the choices of keyed policies, do not depend on each other.
func Draw(key, salt uint64) float64 {
	return float64(mixed(mixed(key+0x9e3779b97f4a7c15)^salt)>>11) / (1 << 53)
}

// Threshold returns the share of a group among the requests that the groups before it have left,
// so that it gets the given share of all requests. taken is the sum of the shares of these groups.
func Threshold(share, taken float64) float64 {
	if left := 1 - taken; share < left {
		return share / left
	}
	return 1
}
