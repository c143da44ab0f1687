// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// gateSet holds the gates of a handler, one or one for each key. It outlives the
// configuration. Safe for concurrent use.
type gateSet struct {
	counts admission.Counts
	one    *admission.Gate // nil with keys
	keys   *gateTable
}

// gateSetKey identifies a gateSet. Other options make another gateSet.
type gateSetKey struct {
	label, identity string
	duplicate       int // distinguishes unnamed handlers with the same options
}

func newGateSet(config admission.Config, per *Per) *gateSet {
	g := new(gateSet)
	config.Counts = &g.counts
	if per == nil {
		g.one = admission.NewGate(config, clock.Now())
	} else {
		g.keys = newTable(config, per)
	}
	return g
}

// gate returns the gate for a request, and the function to call at the request's end.
func (g *gateSet) gate(r *http.Request) (gate *admission.Gate, release func()) {
	if g.one != nil {
		return g.one, func() {}
	}
	return g.keys.gate(r)
}

// configRegistry holds the shed handlers of one configuration.
type configRegistry struct {
	registry *prometheus.Registry
	refs     shared.Refs

	mu         sync.Mutex // guards the fields below
	users      int
	duplicates map[gateSetKey]int
	names      map[string]string // by name of a handler: its identity
	labels     map[string]bool
	gates      []labeledGates
}

// labeledGates is a gateSet with its label in metrics.
type labeledGates struct {
	label string
	*gateSet
}

// registries holds the registries of the loaded configurations, the latest last. Its
// Prometheus registry identifies a configuration.
var registries struct {
	mu  sync.Mutex
	all []*configRegistry
}

// registryOf returns the registry of a configuration, and creates it if there is none. The
// caller holds registries.mu.
func registryOf(registry *prometheus.Registry) (*configRegistry, error) {
	for _, s := range registries.all {
		if s.registry == registry {
			return s, nil
		}
	}
	if registry != nil {
		if err := registry.Register(collector{}); err != nil {
			return nil, err
		}
	}
	s := &configRegistry{registry: registry, duplicates: make(map[gateSetKey]int), names: make(map[string]string), labels: make(map[string]bool)}
	registries.all = append(registries.all, s)
	return s, nil
}

// join returns the gateSet of a handler, and the registry to leave.
func join(ctx caddy.Context, label string, named bool, identity string, config admission.Config, per *Per) (*configRegistry, *gateSet, error) {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	s, err := registryOf(ctx.GetMetricsRegistry())
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := gateSetKey{label: label, identity: identity}
	known := false
	if named {
		var other string
		if other, known = s.names[label]; known && other != identity {
			return nil, nil, fmt.Errorf("two shed handlers are named %q and configured differently; those with one name are one: write the same options, or another name", label)
		}
		s.names[label] = identity
	} else {
		key.duplicate = s.duplicates[key]
		s.duplicates[gateSetKey{label: label, identity: identity}]++
	}
	s.users++
	g := shared.LoadOrNew(&s.refs, key, func() *gateSet { return newGateSet(config, per) })
	if !known {
		s.gates = append(s.gates, labeledGates{s.unique(label), g})
	}
	return s, g, nil
}

// unique returns a label that no other gateSet has.
func (s *configRegistry) unique(label string) string {
	name := label
	for n := 2; s.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	s.labels[name] = true
	return name
}

// leave removes a handler. The last one releases the references of the registry.
func (s *configRegistry) leave() {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if last {
		registries.all = slices.DeleteFunc(registries.all, func(of *configRegistry) bool { return of == s })
		s.refs.Release()
	}
}

// listed returns the gate sets of all loaded configurations, each set and each label once.
// The latest configuration decides the label. It includes all configurations because, after a
// rejected reload, Caddy shows a registry that is not that of the running configuration.
func listed() (all []labeledGates) {
	registries.mu.Lock()
	defer registries.mu.Unlock()
	sets, labels := make(map[*gateSet]bool), make(map[string]bool)
	for _, s := range slices.Backward(registries.all) {
		s.mu.Lock()
		for _, g := range s.gates {
			if !sets[g.gateSet] && !labels[g.label] {
				sets[g.gateSet], labels[g.label] = true, true
				all = append(all, g)
			}
		}
		s.mu.Unlock()
	}
	return all
}
