// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package instances lists the instances of a module in the loaded configurations, for
// metrics and the admin API, and keeps the state of each over reloads.
package instances

import (
	"errors"
	"fmt"
	"iter"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/metrics"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// ErrNameTaken means that another instance of the configuration has the same name and
// another identity.
var ErrNameTaken = errors.New("the name belongs to another instance")

// Registry lists the instances of one kind of handler, and keeps the state of each. S is the
// state, a pointer; D is what else is listed. Safe for concurrent use.
type Registry[S comparable, D any] struct {
	list *List[Instance[S, D]]
}

// Instance is one entry of [Registry.List].
type Instance[S comparable, D any] struct {
	// Label is unique among the instances of a configuration.
	Label string
	// State outlives the configuration.
	State S
	// Detail is as in [Registry.Join].
	Detail D

	key key[S, D]
}

// key identifies the state of an instance over reloads.
type key[S comparable, D any] struct {
	registry  *Registry[S, D]
	handler   Handler
	duplicate int // distinguishes unnamed instances that are configured alike
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

// New returns a registry. Each configuration shows the series, for which collect emits what
// it reads of each entry of [Registry.List]. The emitter has the label.
func New[S comparable, D any](series *metrics.Series, collect func(emit metrics.Emitter, state S, detail D)) *Registry[S, D] {
	return &Registry[S, D]{NewList(series, func(emit metrics.Emitter, all iter.Seq[Instance[S, D]]) {
		for _, i := range distinct(all) {
			collect(emit.With(i.Label), i.State, i.Detail)
		}
	})}
}

// Join adds a handler to a configuration, as [List.Add] does. Its state is made by construct
// if no loaded configuration has it. The error is [ErrNameTaken] or one of the Prometheus
// registry. Further calls of leave do nothing.
func (r *Registry[S, D]) Join(configuration *prometheus.Registry, h Handler, detail D, construct func() S) (i Instance[S, D], leave func(), err error) {
	var refs shared.Refs
	remove, err := r.list.add(configuration, func(others []*Instance[S, D]) (Instance[S, D], error) {
		i = Instance[S, D]{Label: h.Label, Detail: detail, key: key[S, D]{registry: r, handler: h}}
		if err := i.distinguish(others); err != nil {
			return i, err
		}
		i.State = shared.LoadOrNew(&refs, i.key, construct)
		return i, nil
	})
	if err != nil {
		return i, nil, err
	}
	return i, func() { remove(); refs.Release() }, nil
}

// distinguish gives an instance a label and a key of its own among the others of its
// configuration, or those of the other instance with its name.
func (i *Instance[S, D]) distinguish(others []*Instance[S, D]) error {
	labels, keys := make(map[string]bool), make(map[key[S, D]]bool)
	for _, other := range others {
		if name := i.key.handler.Name; name != "" && name == other.key.handler.Name {
			if i.Label = other.Label; i.key != other.key {
				return ErrNameTaken
			}
			return nil
		}
		labels[other.Label], keys[other.key] = true, true
	}
	for n := 2; labels[i.Label]; n++ {
		i.Label = fmt.Sprint(i.key.handler.Label, "-", n)
	}
	for keys[i.key] {
		i.key.duplicate++
	}
	return nil
}

// List returns the instances of all loaded configurations, each state and each label once;
// the latest configuration decides the label.
func (r *Registry[S, D]) List() []Instance[S, D] { return distinct(r.list.All()) }

func distinct[S comparable, D any](all iter.Seq[Instance[S, D]]) (listed []Instance[S, D]) {
	states, labels := make(map[S]bool), make(map[string]bool)
	for i := range all {
		if !states[i.State] && !labels[i.Label] {
			states[i.State], labels[i.Label] = true, true
			listed = append(listed, i)
		}
	}
	return listed
}
