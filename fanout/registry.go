// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// handlerRegistry is the fan-outs of one configuration, which is told by its registry.
type handlerRegistry struct {
	registry *prometheus.Registry
	refs     shared.Refs

	// What follows is guarded by rosters.mu.

	users      int
	duplicates map[handlerStatsKey]int
	names      map[string]string // the targets of those with a name
	labels     map[string]bool
	all        []registeredStats
}

// registeredStats is a ledger as metrics call it, and the pool whose members they show.
type registeredStats struct {
	label string
	pool  *backend.Pool
	*handlerStats
}

// handlerStatsKey names a ledger.
type handlerStatsKey struct {
	label, targets string
	duplicate      int // tells handlers without a name apart that have the same targets
}

// registries are those of the configurations that are loaded, the latest last.
var registries struct {
	mu  sync.Mutex
	all []*handlerRegistry
}

// join gives a handler its ledger, what metrics call it, and the roster to leave.
func (h *Handler) join(registry *prometheus.Registry, pool *backend.Pool) error {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	r, err := registryOf(registry)
	if err != nil {
		return err
	}
	key := handlerStatsKey{label: h.Name, targets: h.Pool + "\n" + strings.Join(h.Upstreams, "\n")}
	known := false
	if h.Name != "" {
		var other string
		if other, known = r.names[h.Name]; known && other != key.targets {
			r.dropUnused()
			return fmt.Errorf("two fan-outs are named %q and go to different backends; write another name", h.Name)
		}
		r.names[h.Name] = key.targets
	} else {
		key.label = pool.Name
		if h.Pool == "" {
			key.label = "upstreams"
		}
		same := key
		key.duplicate = r.duplicates[same]
		r.duplicates[same]++
	}
	r.users++
	h.registry, h.label = r, key.label
	h.stats = shared.LoadOrNew(&r.refs, key, newHandlerStats)
	if !known {
		h.label = r.unique(key.label)
		r.all = append(r.all, registeredStats{h.label, pool, h.stats})
	}
	return nil
}

// registryOf returns the roster of a configuration, a new one if there is none. The
// caller holds rosters.mu.
func registryOf(registry *prometheus.Registry) (*handlerRegistry, error) {
	for _, r := range registries.all {
		if r.registry == registry {
			return r, nil
		}
	}
	if registry != nil {
		if err := registry.Register(collector{}); err != nil {
			return nil, err
		}
	}
	r := &handlerRegistry{registry: registry, duplicates: make(map[handlerStatsKey]int), names: make(map[string]string), labels: make(map[string]bool)}
	registries.all = append(registries.all, r)
	return r, nil
}

// unique returns a label that no other has. The caller holds rosters.mu.
func (r *handlerRegistry) unique(label string) string {
	name := label
	for n := 2; r.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	r.labels[name] = true
	return name
}

// leave gives back a handler's share; with the last, what they have leased.
func (r *handlerRegistry) leave() {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	r.users--
	r.dropUnused()
}

// dropUnused forgets a roster without users. The caller holds rosters.mu.
func (r *handlerRegistry) dropUnused() {
	if r.users == 0 {
		registries.all = slices.DeleteFunc(registries.all, func(of *handlerRegistry) bool { return of == r })
		r.refs.Release()
	}
}

// listed returns the ledgers of all configurations that are loaded, each once, and
// each label once: as the latest configuration calls it.
func listed() (all []registeredStats) {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	ledgers, labels := make(map[*handlerStats]bool), make(map[string]bool)
	for _, r := range slices.Backward(registries.all) {
		for _, e := range r.all {
			if !ledgers[e.handlerStats] && !labels[e.label] {
				ledgers[e.handlerStats], labels[e.label] = true, true
				all = append(all, e)
			}
		}
	}
	return all
}
