// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

const latencyName = "caddy_ballast_backend_latency_seconds"

// scrape asks the metrics of Caddy's admin endpoint as a client does that accepts a
// format, and returns what it says of latencies.
func scrape(t *testing.T, p *lbtest.Proxy, accept string) (format expfmt.FormatType, text string, latencies []*dto.Metric) {
	t.Helper()
	m, err := p.Context().LoadModuleByID("admin.api.metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	if err := m.(caddy.AdminRouter).Routes()[0].Handler.ServeHTTP(w, r); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	text = w.Body.String()
	f := expfmt.ResponseFormat(w.Result().Header)
	for d := expfmt.NewDecoder(w.Body, f); ; {
		family := new(dto.MetricFamily)
		if err := d.Decode(family); errors.Is(err, io.EOF) {
			return f.FormatType(), text, latencies
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() == latencyName {
			latencies = family.Metric
		}
	}
}

// Who takes protocol buffers gets native buckets, which add up to the count, and are
// where the times of requests are; who takes text gets classic ones. Both count the same.
func TestNativeHistogram(t *testing.T) {
	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.4"
	synctest.Test(t, func(t *testing.T) {
		times := []time.Duration{3 * time.Millisecond, 3 * time.Millisecond, 40 * time.Millisecond, 700 * time.Millisecond, time.Second, 9 * time.Second}
		n := 0
		p, err := lbtest.Load(t, nil, proxy("wrr", `"name":"web","backends":[{"dial":"a:1"},{"dial":"idle:1","weight":0}]`), lbtest.Backends{
			"a:1": func(*http.Request) (int, error) {
				time.Sleep(times[n%len(times)])
				n++
				return http.StatusOK, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 * len(times) { // for longer than times stay in a window
			_, _ = p.Get()
		}
		// By the power of two of seconds that is next above.
		want := map[int]uint64{-8: 20, -4: 10, 0: 20, 4: 10}
		format, _, latencies := scrape(t, p, protobuf)
		if format != expfmt.TypeProtoDelim || len(latencies) != 2 {
			t.Fatalf("%d backends in format %v", len(latencies), format)
		}
		for _, m := range latencies {
			h := m.Histogram
			if h.Schema == nil || h.GetSchema() != 0 || h.GetZeroCount() != 0 || len(h.PositiveSpan) != 1 || len(h.PositiveDelta) != int(h.PositiveSpan[0].GetLength()) {
				t.Fatalf("no native histogram: %v", m)
			}
			got, sum, count := make(map[int]uint64), uint64(0), int64(0)
			for i, delta := range h.PositiveDelta {
				if count += delta; count > 0 {
					got[int(h.PositiveSpan[0].GetOffset())+i] = uint64(count)
					sum += uint64(count)
				}
			}
			if classic := h.Bucket[len(h.Bucket)-1].GetCumulativeCount(); sum != h.GetSampleCount() || sum != classic {
				t.Errorf("native buckets have %d, classic ones %d, of %d", sum, classic, h.GetSampleCount())
			}
			if idle := h.GetSampleCount() == 0; idle != strings.Contains(m.String(), "idle:1") || !idle && !maps.Equal(got, want) {
				t.Errorf("got %v, want %v: %v", got, want, m)
			}
		}
		format, text, plain := scrape(t, p, "text/plain")
		if format != expfmt.TypeTextPlain || len(plain) != 2 || plain[0].Histogram.Schema != nil ||
			!strings.Contains(text, latencyName+`_bucket{backend="a:1",pool="web",le="1.073741824"} 50`) {
			t.Errorf("as %v: %v", format, plain)
		}
	})
	lbtest.NoLeaks(t)
}
