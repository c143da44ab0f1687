// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"testing"
)

// A table is built only for members that differ in id, weight or index from those of the cached
// tables, and the number of cached tables is bounded.
func TestTableCache(t *testing.T) {
	var c tableCache
	made := 0
	get := func(members ...member) hashTable {
		return c.get(members, func() hashTable { made++; return slots{int32(made)} })
	}
	a, b := member{"a", 1, 0}, member{"b", 1, 1}
	both := get(a, b)
	for i := range 10 {
		get(a) // b leaves, and returns
		if got := get(a, b); fmt.Sprint(got) != fmt.Sprint(both) {
			t.Fatalf("time %d: got %v, want %v", i, got, both)
		}
	}
	if made != 2 {
		t.Errorf("%d tables were built for two sets", made)
	}
	for _, other := range [][]member{{a, {"c", 1, 1}}, {a, {"b", 2, 1}}, {a, {"b", 1, 2}}, {a, {"d", 1, 1}}, {a, {"e", 1, 1}}, {a, {"f", 1, 1}}, {a, {"g", 1, 1}}, {a, {"h", 1, 1}}} {
		before := made
		if get(other...); made != before+1 {
			t.Errorf("%v has the table of other members", other)
		}
	}
	if get(a, b); made != 11 || len(c.latest) != cachedTables {
		t.Errorf("%d tables were built, and %d are kept, want 11 and %d", made, len(c.latest), cachedTables)
	}
}
