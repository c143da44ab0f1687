// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Metric is the entry of a map of the report that is used as the utilization of the backend (gRFC A114). The zero
// value stands for no metric. Read-only.
type Metric struct {
	number int // namedMetrics or utilization; 0 for none
	key    string
}

// ParseMetric parses the name of a metric: a key of named_metrics, also written named_metrics.key, or
// utilization.key for an entry of utilization. An empty name stands for no metric.
func ParseMetric(name string) (Metric, error) {
	m := Metric{number: namedMetrics, key: strings.TrimPrefix(name, "named_metrics.")}
	if key, ok := strings.CutPrefix(name, "utilization."); ok {
		m = Metric{number: utilization, key: key}
	}
	switch {
	case name == "":
		return Metric{}, nil
	case m.key == "" || strings.ContainsFunc(m.key, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,="`, r) }):
		return Metric{}, fmt.Errorf("must be the name of a metric such as kv_cache_usage_perc, named_metrics.queue or utilization.gpu, got %q", name)
	}
	return m, nil
}

// Parse returns the report of a message in protobuf.
func (m Metric) Parse(message []byte) (Report, error) {
	p := parser{metric: m}
	if err := p.message(message); err != nil {
		return Report{}, err
	}
	return p.result(), nil
}

// is reports whether an entry of a map is the metric.
func (m Metric) is(number int, key string) bool { return m.number == number && m.key == key }

// setMetric sets the metric from a number.
func (p *parser) setMetric(v float64) error {
	if !(v >= 0 && v <= math.MaxFloat64) { // false for NaN
		return fmt.Errorf("%s.%s must be finite and not negative, got %v", fields[p.metric.number].name, p.metric.key, v)
	}
	p.report.Named = v
	return nil
}

// setMetricDecimal sets the metric from a decimal number of TEXT and JSON, where a repetition is an
// error.
func (p *parser) setMetricDecimal(s string) error {
	if p.seenMetric {
		return fmt.Errorf("%s.%s must be there at most once", fields[p.metric.number].name, p.metric.key)
	}
	p.seenMetric = true
	v, err := decimal(s)
	if err != nil {
		return fmt.Errorf("%s.%s %w", fields[p.metric.number].name, p.metric.key, err)
	}
	return p.setMetric(v)
}

// jsonMap parses the map with the metric, as a JSON value, and skips its other entries.
func (p *parser) jsonMap(value json.RawMessage) error {
	if value[0] != '{' {
		if string(value) == "null" {
			return nil
		}
		return fmt.Errorf("%s must be a JSON object", fields[p.metric.number].name)
	}
	return members(string(value), func(key string, value json.RawMessage) error {
		if key != p.metric.key || string(value) == "null" {
			return nil
		}
		return p.setMetricDecimal(jsonText(value))
	})
}

// wireEntry parses one entry of the map with the metric. As in protobuf, the last value of a key counts, and absent
// fields are empty or 0.
func (p *parser) wireEntry(b []byte) error {
	key, bits := "", uint64(0)
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		switch {
		case number == 1 && wire == protowire.BytesType:
			key, n = protowire.ConsumeString(b)
		case number == 2 && wire == protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(b)
		case number > protowire.MaxValidNumber: // ConsumeTag accepts these
			return fmt.Errorf("must be an OrcaLoadReport in protobuf: invalid field number %d", number)
		default: // unknown, also key and value of another type
			n = protowire.ConsumeFieldValue(number, wire, b)
		}
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
	}
	if key != p.metric.key {
		return nil
	}
	return p.setMetric(math.Float64frombits(bits))
}
