// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package instances lists the instances of a handler in the loaded configurations, for
// metrics and the admin API, and keeps the state of each over reloads.
package instances

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// ErrNameTaken says that another instance of the configuration has the same name and
// another identity.
var ErrNameTaken = errors.New("the name belongs to another instance")

// Registry holds the instances of one kind of handler. S is their state, a pointer; D is
// what else is listed of them. A Prometheus registry identifies a configuration. Safe for
// concurrent use.
type Registry[S comparable, D any] struct {
	collector prometheus.Collector

	mu      sync.Mutex
	configs []*config[S, D] // the latest last
}

// config holds the instances of one configuration, guarded by the lock of the registry.
type config[S comparable, D any] struct {
	metrics    *prometheus.Registry
	refs       shared.Refs
	users      int
	duplicates map[key[S, D]]int
	names      map[string]string // by name: the identity
	labels     map[string]bool
	listed     []Instance[S, D]
}

// key identifies the state of an instance over reloads.
type key[S comparable, D any] struct {
	registry        *Registry[S, D]
	label, identity string
	duplicate       int // distinguishes unnamed instances that are configured alike
}

// Instance is one entry of [Registry.List].
type Instance[S comparable, D any] struct {
	// Label is unique among the instances of a configuration.
	Label string
	// State outlives the configuration.
	State S
	// Detail is as in [Registry.Join].
	Detail D
}

// Handler describes an instance.
type Handler struct {
	// Name is the configured name, empty for none. Handlers with one name are one instance.
	Name string
	// Label is the name in metrics; of an unnamed handler it gets a number if it is taken.
	Label string
	// Identity is equal for handlers that may share their state.
	Identity string
}

// Member is the part that one handler has in a registry.
type Member[S comparable, D any] struct {
	Instance[S, D]
	registry *Registry[S, D]
	config   *config[S, D]
}

// New returns a registry. The collector is registered with each configuration.
func New[S comparable, D any](collector prometheus.Collector) *Registry[S, D] {
	return &Registry[S, D]{collector: collector}
}

// Join adds a handler to the configuration of a Prometheus registry, which may be nil, and
// returns its state, made by construct if no loaded configuration has it. The error is
// [ErrNameTaken] or one of the Prometheus registry.
func (r *Registry[S, D]) Join(metrics *prometheus.Registry, h Handler, detail D, construct func() S) (*Member[S, D], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.configOf(metrics)
	if err != nil {
		return nil, err
	}
	k := key[S, D]{registry: r, label: h.Label, identity: h.Identity}
	known := false
	if h.Name != "" {
		var identity string
		if identity, known = c.names[h.Name]; known && identity != h.Identity {
			return nil, ErrNameTaken // its configuration has a user
		}
		c.names[h.Name] = h.Identity
	} else {
		same := k
		k.duplicate = c.duplicates[same]
		c.duplicates[same]++
	}
	c.users++
	i := Instance[S, D]{h.Label, shared.LoadOrNew(&c.refs, k, construct), detail}
	if !known {
		i.Label = c.unique(h.Label)
		c.listed = append(c.listed, i)
	}
	return &Member[S, D]{i, r, c}, nil
}

// configOf returns the configuration of a Prometheus registry, and adds it if there is
// none. The caller holds the lock.
func (r *Registry[S, D]) configOf(metrics *prometheus.Registry) (*config[S, D], error) {
	for _, c := range r.configs {
		if c.metrics == metrics {
			return c, nil
		}
	}
	if metrics != nil {
		if err := metrics.Register(r.collector); err != nil {
			return nil, err
		}
	}
	c := &config[S, D]{metrics: metrics, duplicates: make(map[key[S, D]]int), names: make(map[string]string), labels: make(map[string]bool)}
	r.configs = append(r.configs, c)
	return c, nil
}

// unique returns a label that no other instance of the configuration has.
func (c *config[S, D]) unique(label string) string {
	name := label
	for n := 2; c.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	c.labels[name] = true
	return name
}

// Leave removes the handler. The last one of a configuration releases its references. It
// must be called once.
func (m *Member[S, D]) Leave() {
	r, c := m.registry, m.config
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.users--; c.users == 0 {
		r.configs = slices.DeleteFunc(r.configs, func(of *config[S, D]) bool { return of == c })
		c.refs.Release()
	}
}

// List returns the instances of all loaded configurations, each state and each label once;
// the latest configuration decides the label. After a rejected reload Caddy shows the
// Prometheus registry of another configuration than the one that runs, so each lists all.
func (r *Registry[S, D]) List() (all []Instance[S, D]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	states, labels := make(map[S]bool), make(map[string]bool)
	for _, c := range slices.Backward(r.configs) {
		for _, i := range c.listed {
			if !states[i.State] && !labels[i.Label] {
				states[i.State], labels[i.Label] = true, true
				all = append(all, i)
			}
		}
	}
	return all
}
