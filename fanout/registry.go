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

// handlerRegistry holds the fan-out handlers of one configuration. Its Prometheus registry
// identifies the configuration.
type handlerRegistry struct {
	registry *prometheus.Registry
	refs     shared.Refs

	// The fields below are guarded by registries.mu.

	users      int
	duplicates map[handlerStatsKey]int
	names      map[string]string // by name of a handler: its targets
	labels     map[string]bool
	all        []registeredStats
}

// registeredStats is handlerStats with its label in metrics, and the pool whose members the
// metrics show.
type registeredStats struct {
	label string
	pool  *backend.Pool
	*handlerStats
}

// handlerStatsKey identifies handlerStats over reloads.
type handlerStatsKey struct {
	label, targets string
	duplicate      int // distinguishes unnamed handlers with the same targets
}

// registries holds the registries of the loaded configurations, the latest last.
var registries struct {
	mu  sync.Mutex
	all []*handlerRegistry
}

// join sets the stats, the metrics label and the registry of a handler.
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

// registryOf returns the registry of a configuration, and creates it if there is none. The
// caller holds registries.mu.
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

// unique returns a label that no other handler has. The caller holds registries.mu.
func (r *handlerRegistry) unique(label string) string {
	name := label
	for n := 2; r.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	r.labels[name] = true
	return name
}

// leave removes a handler. The last one releases the references of the registry.
func (r *handlerRegistry) leave() {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	r.users--
	r.dropUnused()
}

// dropUnused removes a registry without users. The caller holds registries.mu.
func (r *handlerRegistry) dropUnused() {
	if r.users == 0 {
		registries.all = slices.DeleteFunc(registries.all, func(of *handlerRegistry) bool { return of == r })
		r.refs.Release()
	}
}

// listed returns the stats of all loaded configurations, each stats and each label once. The
// latest configuration decides the label.
func listed() (all []registeredStats) {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	stats, labels := make(map[*handlerStats]bool), make(map[string]bool)
	for _, r := range slices.Backward(registries.all) {
		for _, e := range r.all {
			if !stats[e.handlerStats] && !labels[e.label] {
				stats[e.handlerStats], labels[e.label] = true, true
				all = append(all, e)
			}
		}
	}
	return all
}
