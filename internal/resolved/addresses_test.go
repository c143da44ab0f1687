// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package resolved

import (
	"slices"
	"testing"
)

func TestAddresses(t *testing.T) {
	b := new(Addresses)
	expect := func(step, ip string, all ...string) {
		t.Helper()
		if b.IP() != ip || !slices.Equal(b.IPs(), all) {
			t.Errorf("%s: %q of %q, want %q of %q", step, b.IP(), b.IPs(), ip, all)
		}
	}
	expect("nothing is known", "")
	b.Reached("1")
	b.Unreached("1")
	b.Resolve([]string{"1", "2", "3"})
	expect("known", "1", "1", "2", "3")
	b.Unreached("1")
	expect("the first fails", "2", "2", "3", "1")
	b.Unreached("1") // somebody had dialed it before
	expect("the first fails again", "2", "2", "3", "1")
	b.Resolve([]string{"0", "1", "2"})
	expect("others", "2", "2", "0", "1")
	b.Unreached("2")
	expect("the last fails", "0", "0", "1", "2")
	b.Reached("1")
	expect("a probe reaches one", "1", "1", "2", "0")
	b.Reached("9")
	b.Resolve([]string{"3"})
	expect("none of them", "3", "3")
	b.Unreached("3")
	expect("there is no other", "3", "3")
	b.Resolve(nil)
	expect("nothing is known again", "")
}
