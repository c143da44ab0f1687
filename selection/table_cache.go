// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"slices"
	"sync"
)

// cachedTables is how many tables a policy keeps: those of its tiers, and that from
// before a backend left, which may be back soon.
const cachedTables = 3

// tableCache keeps the latest tables, since most changes of a pool leave the ids and
// weights of a tier as they are. Safe for concurrent use.
type tableCache struct {
	mu     sync.Mutex
	latest []cachedTable // the latest last
}

type cachedTable struct {
	members []member
	table   hashTable
}

// get returns the table of the given members, which build makes if there is none.
func (c *tableCache) get(members []member, build func() hashTable) hashTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.latest, func(t cachedTable) bool { return slices.Equal(t.members, members) })
	if at < 0 {
		c.latest = append(c.latest, cachedTable{members, build()})
		at = len(c.latest) - 1
	}
	found := c.latest[at]
	c.latest = append(slices.Delete(c.latest, at, at+1), found)
	if len(c.latest) > cachedTables {
		c.latest = slices.Delete(c.latest, 0, 1)
	}
	return found.table
}
