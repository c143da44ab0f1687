// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"strings"
	"testing"
)

// Sample is the value of one counter or gauge.
type Sample struct {
	// Name is the name of the series.
	Name string
	// Labels are its labels.
	Labels map[string]string
	// LabelValues are the values of the labels, in the order of their names.
	LabelValues []string
	// Value is the value of the counter or gauge.
	Value float64
}

// Samples scrapes the configuration, and returns the series whose names have the prefix.
func (c *Config) Samples(t testing.TB, prefix string) (all []Sample) {
	t.Helper()
	ctx := c.Context()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		for _, m := range f.GetMetric() {
			s := Sample{f.GetName(), make(map[string]string), nil, m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				s.Labels[l.GetName()] = l.GetValue()
				s.LabelValues = append(s.LabelValues, l.GetValue())
			}
			all = append(all, s)
		}
	}
	return all
}

// Metric returns the value of a series, summed over labels that are not given as name and value.
func (c *Config) Metric(t testing.TB, name string, labels ...string) (sum float64) {
	t.Helper()
samples:
	for _, s := range c.Samples(t, name) {
		if s.Name != name {
			continue
		}
		for i := 0; i < len(labels); i += 2 {
			if s.Labels[labels[i]] != labels[i+1] {
				continue samples
			}
		}
		sum += s.Value
	}
	return sum
}
