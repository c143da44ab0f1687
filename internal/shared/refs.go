// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// usagePool holds all values that outlive a configuration, by typed key.
var usagePool = caddy.NewUsagePool()

// Refs are counted references to process-wide values. A configuration releases exactly the
// references that it has taken, so that one which fails halfway takes nothing from another. The
// zero value is ready. Safe for concurrent use.
type Refs struct {
	mu   sync.Mutex
	keys []any
}

// LoadOrNew returns the process-wide value of key, and adds a reference to it to l. If there is no value, construct
// creates it. The key must be comparable, and its type must be specific to one kind of value.
func LoadOrNew[V any](l *Refs, key any, construct func() V) V {
	v, _, _ := usagePool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return refValue[V]{construct()}, nil
	})
	l.mu.Lock()
	l.keys = append(l.keys, key)
	l.mu.Unlock()
	return v.(refValue[V]).value
}

// Release releases every reference taken through l. Further calls do nothing.
func (l *Refs) Release() {
	l.mu.Lock()
	keys := l.keys
	l.keys = nil
	l.mu.Unlock()
	for _, key := range keys {
		_, _ = usagePool.Delete(key)
	}
}

// refValue adapts a value to a UsagePool. Destruct does nothing: the users of a value stop its
// tasks before they release it.
type refValue[V any] struct{ value V }

func (refValue[V]) Destruct() error { return nil }
