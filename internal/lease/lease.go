// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// leased holds everything that outlives a configuration, by typed key.
var leased = caddy.NewUsagePool()

// Leases are references to process-wide values. A configuration releases
// exactly what it took, so that one that fails half-way takes nothing from
// another. The zero value is ready; safe for concurrent use.
type Leases struct {
	mu   sync.Mutex
	keys []any
}

// Take returns the process-wide value of key, made by construct if there is
// none yet, and records the reference in l. The key must be comparable and its
// type must belong to one kind of value.
func Take[V any](l *Leases, key any, construct func() V) V {
	v, _, _ := leased.LoadOrNew(key, func() (caddy.Destructor, error) {
		return holder[V]{construct()}, nil
	})
	l.mu.Lock()
	l.keys = append(l.keys, key)
	l.mu.Unlock()
	return v.(holder[V]).value
}

// Release gives back every reference taken through l. It may be called again.
func (l *Leases) Release() {
	l.mu.Lock()
	keys := l.keys
	l.keys = nil
	l.mu.Unlock()
	for _, key := range keys {
		_, _ = leased.Delete(key)
	}
}

// holder makes any value fit a UsagePool. There is nothing to destruct: what
// runs is stopped by its users before they release it.
type holder[V any] struct{ value V }

func (holder[V]) Destruct() error { return nil }
