// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package poolmetrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// scrape returns the values of all series of the registry by name and labels.
func scrape(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			switch {
			case m.Gauge != nil:
				values[name] = m.Gauge.GetValue()
			case m.Counter != nil:
				values[name] = m.Counter.GetValue()
			case m.Histogram != nil:
				values[name] = m.Histogram.GetSampleSum()
				values[name+" count"] = float64(m.Histogram.GetSampleCount())
				for _, b := range m.Histogram.Bucket {
					if b.GetUpperBound() > 0.5 && b.GetUpperBound() < 1.2 {
						values[fmt.Sprint(name, " ", b.GetUpperBound())] = float64(b.GetCumulativeCount())
					}
				}
			default:
				values[name] = m.Summary.GetSampleSum()
				values[name+" count"] = float64(m.Summary.GetSampleCount())
			}
		}
	}
	return values
}

// checked is a pool with health checks.
type checked struct{ membership.Manager }

func (checked) Checks() []string { return []string{"http", "tcp", "http"} }

// Counts are read when they are asked for, survive the registry of the
// configuration that counted them, and end with their backend.
func TestCollector(t *testing.T) {
	verdict := health.NewStatus(true)
	verdicts := []*health.Status{verdict, health.NewStatus(true), health.NewStatus(true)}
	b := backend.New("web", backend.Endpoint{Address: "a:1", Settings: backend.Settings{ID: "app", Weight: new(3)}}, backend.NewState(), verdicts, nil)
	p := pool.NewPool("web")
	p.SetManager(checked{})
	p.SetMembers(pool.NewMembers([]*backend.Backend{b}))
	p.Activate()
	defer p.Deactivate()

	registry := prometheus.NewPedanticRegistry()
	if err := Register(registry); err != nil {
		t.Fatal(err)
	}
	b.CountRetry()
	b.CountResend()
	b.CountResend()
	for _, a := range []*backend.Attempt{{Status: 200, FirstByte: time.Second}, {Status: 503}, {}} {
		b.Begin(new(backend.Attempt))
		var err error
		if a.Status == 0 {
			err = io.ErrUnexpectedEOF
		} else {
			b.Answer(a)
			b.AnswerBody(a, 2*time.Second)
		}
		b.End(a, 3*time.Second, err, false)
	}
	b.Begin(new(backend.Attempt))
	verdict.Observe(errors.New("refused"), 1, 1)
	verdict.ObserveDuration(errors.New("refused"), 2*time.Second)
	b.Outages.Change(true)
	want := map[string]float64{
		"caddy_ballast_backend_up app web":                       0,
		"caddy_ballast_backend_weight app web":                   3,
		"caddy_ballast_backend_requests_total app web":           4,
		"caddy_ballast_backend_requests_in_flight app web":       1,
		"caddy_ballast_backend_failures_total app reset web":     1,
		"caddy_ballast_backend_client_gone_total app web":        0,
		"caddy_ballast_backend_transitions_total app web":        1,
		"caddy_ballast_backend_first_byte_seconds app web":       1,
		"caddy_ballast_backend_first_byte_seconds app web count": 2,
		"caddy_ballast_backend_retries_total app web":            1,
		"caddy_ballast_backend_resends_total app web":            2,
		// Of one response that took a second and one that took nothing, one is in
		// the buckets up to 2^29 ns, and both in that up to 2^30.
		"caddy_ballast_backend_latency_seconds app web":               1,
		"caddy_ballast_backend_latency_seconds app web count":         2,
		"caddy_ballast_backend_latency_seconds app web 0.536870912":   1,
		"caddy_ballast_backend_latency_seconds app web 1.073741824":   2,
		"caddy_ballast_backend_first_body_byte_seconds app web":       4,
		"caddy_ballast_backend_first_body_byte_seconds app web count": 2,
		"caddy_ballast_backend_last_byte_seconds app web":             6,
		"caddy_ballast_backend_last_byte_seconds app web count":       2,
		"caddy_ballast_backend_ejected app web":                       0,
		"caddy_ballast_backend_ejections_total app web":               0,
		"caddy_ballast_backend_held app web":                          0,
		"caddy_ballast_pool_panic web":                                0,
	}
	ofPool := map[string]float64{"caddy_ballast_pool_panic web": 0}
	for _, reason := range pool.Reasons() {
		ofPool["caddy_ballast_pool_refused_total web "+string(reason)] = 0
	}
	p.Refuse(pool.ReasonMaintenance)
	ofPool["caddy_ballast_pool_refused_total web all_maintenance"] = 1
	maps.Copy(want, ofPool)
	for state, v := range map[string]float64{"up": 0, "down": 1, "ejected": 0, "trial": 0, "drain": 0, "maint": 0} {
		want["caddy_ballast_backend_state app web "+state] = v
	}
	for _, check := range []string{"http", "tcp", "http-2"} {
		want["caddy_ballast_backend_probes_total app "+check+" web pass"] = 0
		want["caddy_ballast_backend_probes_total app "+check+" web fail"] = 0
		want["caddy_ballast_backend_probes_total app "+check+" web local"] = 0
		want["caddy_ballast_backend_probe_seconds app "+check+" web"] = 0
		want["caddy_ballast_backend_probe_seconds app "+check+" web count"] = 0
	}
	want["caddy_ballast_backend_probes_total app http web fail"] = 1
	want["caddy_ballast_backend_probe_seconds app http web"] = 2
	want["caddy_ballast_backend_probe_seconds app http web count"] = 1
	for factor, f := range map[string]float64{"configured": 3, "operator": 1, "agent": 1, "reported": 1, "slow_start": 1} {
		want["caddy_ballast_backend_weight_factor app "+factor+" web"] = f
	}
	for _, failure := range []string{"refused", "timeout", "tls", "protocol", "local", "request", "client", "closed"} {
		want["caddy_ballast_backend_failures_total app "+failure+" web"] = 0
	}
	for class, n := range map[string]float64{"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 1} {
		want["caddy_ballast_backend_responses_total app "+class+" web"] = n
	}
	if got := scrape(t, registry); !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}

	next := prometheus.NewPedanticRegistry() // a reload
	if err := Register(next); err != nil {
		t.Fatal(err)
	}
	if got := scrape(t, next); !maps.Equal(got, want) {
		t.Errorf("after a reload: %v", slices.Sorted(maps.Keys(got)))
	}
	p.SetMembers(pool.NewMembers(nil))
	if got := scrape(t, next); !maps.Equal(got, ofPool) {
		t.Errorf("series of a backend that left: %v", got)
	}
}

// A pool that bounds requests says how many wait and are refused. The counts go on in
// the pool of a reload, and those without limits have none of it.
func TestCollectorOfLimits(t *testing.T) {
	newPool := func(refs *shared.Refs) *pool.Pool {
		p := pool.NewPool("capped")
		p.SetOptions(pool.Options{Queue: pool.QueueRules{Size: 1, Timeout: time.Millisecond}})
		p.ShareCounters(refs)
		b := backend.New("capped", backend.Endpoint{Address: "a:1", Settings: backend.Settings{ID: "app", Weight: new(1), MaxRequests: new(7)}}, backend.NewState(), nil, nil)
		for b.Take() {
		}
		p.SetMembers(pool.NewMembers([]*backend.Backend{b}))
		return p
	}
	var old, reloaded shared.Refs
	p := newPool(&old)
	p.Activate()
	ctx, leave := context.WithCancel(context.Background())
	leave()
	for range 3 {
		_, reason := p.Acquire(context.Background(), pool.AcquireOptions{})
		if reason != pool.ReasonQueueTimeout {
			t.Fatalf("refused for %q", reason)
		}
		p.Refuse(reason)
	}
	_, reason := p.Acquire(ctx, pool.AcquireOptions{})
	p.Refuse(reason)
	waited := p.Totals().Waited
	if waited < 3*time.Millisecond {
		t.Errorf("waited for %v", waited)
	}
	next := newPool(&reloaded)
	next.Activate()
	defer next.Deactivate()
	p.Deactivate()
	old.Release()

	registry := prometheus.NewPedanticRegistry()
	if err := Register(registry); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, registry)
	for name, want := range map[string]float64{
		"caddy_ballast_backend_max_requests app capped":         7,
		"caddy_ballast_pool_queue_length capped":                0,
		"caddy_ballast_pool_queued_total capped":                3,
		"caddy_ballast_pool_queue_wait_seconds capped":          waited.Seconds(),
		"caddy_ballast_pool_queue_wait_seconds capped count":    3,
		"caddy_ballast_pool_refused_total capped all_full":      0,
		"caddy_ballast_pool_refused_total capped queue_full":    0,
		"caddy_ballast_pool_refused_total capped queue_timeout": 3,
		"caddy_ballast_pool_refused_total capped client_gone":   1,
		"caddy_ballast_pool_refused_total capped retry_budget":  0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
