// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"slices"
	"sync"
)

// cachedTables is the number of tables that a policy caches: for its tiers, each possibly in two
// parts, for its groups, and for the members before a backend left, which may return soon.
const cachedTables = 8

// tableCache keeps the latest tables, since most changes of a pool do not change the ids and
// weights of a tier. It is safe for concurrent use.
type tableCache struct {
	mu     sync.Mutex
	latest []cachedTable // most recent last
}

type cachedTable struct {
	members []member
	table   hashTable
}

// get returns the table of the given members. build builds it if it is not cached.
func (c *tableCache) get(members []member, build func() hashTable) hashTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	index := slices.IndexFunc(c.latest, func(t cachedTable) bool { return slices.Equal(t.members, members) })
	if index < 0 {
		c.latest = append(c.latest, cachedTable{members, build()})
		index = len(c.latest) - 1
	}
	found := c.latest[index]
	c.latest = append(slices.Delete(c.latest, index, index+1), found)
	if len(c.latest) > cachedTables {
		c.latest = slices.Delete(c.latest, 0, 1)
	}
	return found.table
}
