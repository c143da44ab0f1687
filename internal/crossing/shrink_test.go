// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"slices"
	"testing"
)

// tries is how often a schedule is run to see whether it still fails: policies and
// probes draw at random.
const tries = 8

// fails runs a schedule until the property does not hold, and returns what was found.
func fails(t *testing.T, s *schedule, property string) *violation {
	for range tries {
		for _, v := range run(t, s) {
			if v.property == property {
				return &v
			}
		}
	}
	return nil
}

// shrink returns a schedule that fails with fewer events and mechanisms, as far as one
// is found (delta debugging, Zeller 1999).
func shrink(s *schedule, v violation, fails func(s *schedule, property string) *violation) (*schedule, violation) {
	for changed := true; changed; {
		changed = false
		for n := len(s.events) / 2; n > 0; n /= 2 {
			for i := 0; i+n <= len(s.events); {
				less := *s
				less.events = slices.Delete(slices.Clone(s.events), i, i+n)
				if f := fails(&less, v.property); f != nil {
					s, v, changed = &less, *f, true
				} else {
					i += n
				}
			}
		}
		for _, m := range slices.Clone(s.on) {
			less := *s
			less.on = slices.DeleteFunc(slices.Clone(s.on), func(o mechanism) bool { return o == m })
			if slices.ContainsFunc(less.on, func(o mechanism) bool { return slices.Contains(needs[o], m) }) {
				continue
			}
			if m == hash {
				less.policy = "wrr"
			}
			less.events = slices.DeleteFunc(slices.Clone(s.events), func(e event) bool { return !less.known(e.kind) })
			if f := fails(&less, v.property); f != nil {
				s, v, changed = &less, *f, true
			}
		}
	}
	return s, v
}

// known reports whether an event belongs to a mechanism that is on.
func (s *schedule) known(k kind) bool {
	return slices.Contains(kinds[""], k) || slices.ContainsFunc(s.on, func(m mechanism) bool { return slices.Contains(kinds[m], k) })
}
