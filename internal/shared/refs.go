// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// usagePool holds everything that outlives a configuration, by typed key.
var usagePool = caddy.NewUsagePool()

// Refs are references to process-wide values. A configuration releases
// exactly what it took, so that one that fails half-way takes nothing from
// another. The zero value is ready; safe for concurrent use.
type Refs struct {
	mu   sync.Mutex
	keys []any
}

// LoadOrNew returns the process-wide value of key, made by construct if there is
// none yet, and records the reference in l. The key must be comparable and its
// type must belong to one kind of value.
func LoadOrNew[V any](l *Refs, key any, construct func() V) V {
	v, _, _ := usagePool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return refValue[V]{construct()}, nil
	})
	l.mu.Lock()
	l.keys = append(l.keys, key)
	l.mu.Unlock()
	return v.(refValue[V]).value
}

// Release gives back every reference taken through l. It may be called again.
func (l *Refs) Release() {
	l.mu.Lock()
	keys := l.keys
	l.keys = nil
	l.mu.Unlock()
	for _, key := range keys {
		_, _ = usagePool.Delete(key)
	}
}

// refValue makes any value fit a UsagePool. There is nothing to destruct: what
// runs is stopped by its users before they release it.
type refValue[V any] struct{ value V }

func (refValue[V]) Destruct() error { return nil }
