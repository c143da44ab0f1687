// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// BenchmarkObserve is what it costs to look at a pool of 1,000 backends, each of which
// has answered: a scrape of its metrics as Prometheus does it, and the JSON that the
// dashboard asks for every two seconds. Requests pay nothing for either.
func BenchmarkObserve(b *testing.B) {
	const backends = 1000
	var members []string
	answers := make(lbtest.Backends)
	for n := range backends {
		members = append(members, fmt.Sprintf(`{"dial":"u%d:80"}`, n))
		answers[fmt.Sprintf("u%d:80", n)] = lbtest.Latency(0)
	}
	p := lbtest.NewProxy(b, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web","backends":[%s]},
		"load_balancing":{"selection_policy":{"policy":"wrr"}}}`, strings.Join(members, ",")), answers)
	for range backends {
		if _, err := p.Get(); err != nil {
			b.Fatal(err)
		}
	}
	ctx := p.Context()
	b.Run("scrape", func(b *testing.B) {
		var size counter
		for b.Loop() {
			families, err := ctx.GetMetricsRegistry().Gather()
			if err != nil {
				b.Fatal(err)
			}
			size = 0
			e := expfmt.NewEncoder(&size, expfmt.NewFormat(expfmt.TypeTextPlain))
			for _, f := range families {
				if err := e.Encode(f); err != nil {
					b.Fatal(err)
				}
			}
		}
		perBackend(b, backends, size)
	})
	b.Run("json", func(b *testing.B) {
		var size counter
		for b.Loop() {
			size = 0
			if err := json.NewEncoder(&size).Encode(report.All()); err != nil {
				b.Fatal(err)
			}
		}
		perBackend(b, backends, size)
	})
}

func perBackend(b *testing.B, backends int, size counter) {
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms")
	b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*backends), "us-per-backend")
	b.ReportMetric(float64(size)/float64(backends), "B-per-backend")
	b.ReportMetric(0, "ns/op")
}

// counter counts what is written.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)
