// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// The lowest and the highest bound of the classic buckets, in nanoseconds: 0.26 ms and, doubled
// each time, up to 17 s.
const leastBound, mostBound = 1 << 18, 1 << 34

// histogram is the latency histogram of a backend, in classic and in native buckets; the text
// format omits the latter. Both come from one reading, because Prometheus refuses native buckets
// that do not add up to the count.
type histogram struct {
	prometheus.Metric
	seconds []uint64
}

func newHistogram(b *backend.Backend, sum float64) histogram {
	t := b.Histogram.Totals()
	within := make(map[float64]uint64)
	for i, d := range t.Bounds {
		if d >= leastBound && d <= mostBound {
			within[d.Seconds()] = t.Cumulative[i]
		}
	}
	count := t.Cumulative[len(t.Cumulative)-1]
	return histogram{prometheus.MustNewConstHistogram(latencySeconds, count, sum, within, b.Pool, b.ID), t.Seconds}
}

// Write implements [prometheus.Metric].
func (m histogram) Write(out *dto.Metric) error {
	if err := m.Metric.Write(out); err != nil {
		return err
	}
	first, last := 0, len(m.seconds)-1
	for first <= last && m.seconds[first] == 0 {
		first++
	}
	for last >= first && m.seconds[last] == 0 {
		last--
	}
	h, schema, least, none := out.Histogram, int32(0), zeroThreshold, uint64(0)
	h.Schema, h.ZeroThreshold, h.ZeroCount = &schema, &least, &none
	offset, length := int32(latency.LeastSecond+first), uint32(last-first+1)
	if length == 0 {
		offset = 0 // marks the histogram as native although it has no buckets
	}
	h.PositiveSpan = []*dto.BucketSpan{{Offset: &offset, Length: &length}}
	before := uint64(0)
	for _, n := range m.seconds[first : last+1] {
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-int64(before))
		before = n
	}
	return nil
}

// zeroThreshold is the largest value that counts as zero. No observation is that small.
var zeroThreshold = prometheus.DefNativeHistogramZeroThreshold
