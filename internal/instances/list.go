// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package instances

import (
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
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
	metrics *prometheus.Registry
	values  []*V
}

// NewList returns an empty list. The collector is registered with each configuration.
func NewList[V any](collector prometheus.Collector) *List[V] {
	return &List[V]{collector: collector}
}

// Add adds a value of a configuration. The error is one of the Prometheus registry. Further
// calls of remove do nothing.
func (l *List[V]) Add(metrics *prometheus.Registry, value V) (remove func(), err error) {
	return l.add(metrics, func([]*V) (V, error) { return value, nil })
}

// add adds the value that construct makes, given the others of the configuration.
func (l *List[V]) add(metrics *prometheus.Registry, construct func(others []*V) (V, error)) (remove func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if metrics != nil {
		err := metrics.Register(l.collector)
		if _, already := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !already {
			return nil, err
		}
	}
	i := slices.IndexFunc(l.configs, func(c *config[V]) bool { return c.metrics == metrics })
	c := &config[V]{metrics: metrics}
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
