// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package instances

import (
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/metrics"
)

// List holds a value for each instance of one kind of module in all loaded configurations.
// A Prometheus registry, which may be nil, identifies a configuration. Safe for concurrent use.
type List[V any] struct {
	collector prometheus.Collector

	mu      sync.Mutex
	configs []*config[V] // the latest last
}

// config holds the values of one configuration, the first of which came first. The lock of the
// list guards it.
type config[V any] struct {
	registry *prometheus.Registry
	values   []*V
}

// NewList returns an empty list. Each configuration exposes the series; collect emits the metrics of the values.
func NewList[V any](series *metrics.Series, collect func(emit metrics.Emitter, values iter.Seq[V])) *List[V] {
	l := new(List[V])
	l.collector = series.Collector(func(emit metrics.Emitter) { collect(emit, l.All()) })
	return l
}

// Add adds a value of a configuration. The error is one of the Prometheus registry. Further
// calls of remove do nothing.
func (l *List[V]) Add(configuration *prometheus.Registry, value V) (remove func(), err error) {
	return l.add(configuration, func([]*V) (V, error) { return value, nil })
}

// add adds the value that construct makes, given the others of the configuration.
func (l *List[V]) add(configuration *prometheus.Registry, construct func(others []*V) (V, error)) (remove func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if configuration != nil {
		err := configuration.Register(l.collector)
		if _, already := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !already {
			return nil, err
		}
	}
	i := slices.IndexFunc(l.configs, func(c *config[V]) bool { return c.registry == configuration })
	c := &config[V]{registry: configuration}
	if i >= 0 {
		c = l.configs[i]
	}
	value, err := construct(c.values)
	if err != nil {
		return nil, err
	}
	if c.values = append(c.values, &value); i < 0 {
		l.configs = append(l.configs, c)
	}
	return func() { l.remove(c, &value) }, nil
}

func (l *List[V]) remove(c *config[V], value *V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.values = slices.DeleteFunc(c.values, func(v *V) bool { return v == value })
	l.configs = slices.DeleteFunc(l.configs, func(c *config[V]) bool { return len(c.values) == 0 })
}

// All iterates over the values of all configurations, those of the latest first. The list is
// locked meanwhile, so that no value is used after its removal. Each configuration shows the
// values of all, because after a rejected reload Caddy serves the Prometheus registry of
// another configuration than the one that runs.
func (l *List[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range slices.Backward(l.configs) {
			for _, v := range c.values {
				if !yield(*v) {
					return
				}
			}
		}
	}
}
