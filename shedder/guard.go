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

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// guard is what lets requests in, and outlives the configuration: one gate, or
// one for each key. Safe for concurrent use.
type guard struct {
	counts admission.Counts
	one    *admission.Gate // nil with keys
	keys   *table
}

// guardKey names a guard. One with another configuration is another one.
type guardKey struct {
	label, identity string
	twin            int // tells handlers without a name apart that are configured alike
}

func newGuard(config admission.Config, per *Per) *guard {
	g := new(guard)
	config.Counts = &g.counts
	if per == nil {
		g.one = admission.NewGate(config, backend.Now())
	} else {
		g.keys = newTable(config, per)
	}
	return g
}

// gate returns the gate for a request, and what to call when it is over.
func (g *guard) gate(r *http.Request) (gate *admission.Gate, release func()) {
	if g.one != nil {
		return g.one, func() {}
	}
	return g.keys.gate(r)
}

// setting is the shed handlers of one configuration.
type setting struct {
	registry *prometheus.Registry
	leases   lease.Refs

	mu     sync.Mutex // guards what follows
	users  int
	twins  map[guardKey]int
	names  map[string]string // the identity of those with a name
	labels map[string]bool
	guards []labeled
}

// labeled is a guard as metrics call it.
type labeled struct {
	label string
	*guard
}

// settings are those of the configurations that are loaded, the latest last. A
// configuration is told by its registry, which is its own.
var settings struct {
	mu  sync.Mutex
	all []*setting
}

// settingOf returns the setting of a configuration, a new one if there is none. The
// caller holds settings.mu.
func settingOf(registry *prometheus.Registry) (*setting, error) {
	for _, s := range settings.all {
		if s.registry == registry {
			return s, nil
		}
	}
	if registry != nil {
		if err := registry.Register(collector{}); err != nil {
			return nil, err
		}
	}
	s := &setting{registry: registry, twins: make(map[guardKey]int), names: make(map[string]string), labels: make(map[string]bool)}
	settings.all = append(settings.all, s)
	return s, nil
}

// join returns the guard of a handler, and the setting to leave.
func join(ctx caddy.Context, label string, named bool, identity string, config admission.Config, per *Per) (*setting, *guard, error) {
	settings.mu.Lock()
	defer settings.mu.Unlock()
	s, err := settingOf(ctx.GetMetricsRegistry())
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := guardKey{label: label, identity: identity}
	known := false
	if named {
		var other string
		if other, known = s.names[label]; known && other != identity {
			return nil, nil, fmt.Errorf("two shed handlers are named %q and configured differently; those with one name are one: write the same options, or another name", label)
		}
		s.names[label] = identity
	} else {
		key.twin = s.twins[key]
		s.twins[guardKey{label: label, identity: identity}]++
	}
	s.users++
	g := lease.LoadOrNew(&s.leases, key, func() *guard { return newGuard(config, per) })
	if !known {
		s.guards = append(s.guards, labeled{s.unique(label), g})
	}
	return s, g, nil
}

// unique returns a label that no other guard has.
func (s *setting) unique(label string) string {
	name := label
	for n := 2; s.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	s.labels[name] = true
	return name
}

// leave gives back a handler's share; with the last, what they have leased.
func (s *setting) leave() {
	settings.mu.Lock()
	defer settings.mu.Unlock()
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if last {
		settings.all = slices.DeleteFunc(settings.all, func(of *setting) bool { return of == s })
		s.leases.Release()
	}
}

// listed returns the guards of all configurations that are loaded, each once, and
// each label once: as the latest configuration calls it. Which registry Caddy shows
// after a reload is rejected is not that of the configuration which runs.
func listed() (all []labeled) {
	settings.mu.Lock()
	defer settings.mu.Unlock()
	guards, labels := make(map[*guard]bool), make(map[string]bool)
	for _, s := range slices.Backward(settings.all) {
		s.mu.Lock()
		for _, g := range s.guards {
			if !guards[g.guard] && !labels[g.label] {
				guards[g.guard], labels[g.label] = true, true
				all = append(all, g)
			}
		}
		s.mu.Unlock()
	}
	return all
}
