// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(naming)) }

// naming is a transport whose backends report named metrics, a:1 in the header and the others in
// the trailer.
type naming struct {
	Reports map[string]string  `json:"reports"` // by address
	Busy    map[string]float64 `json:"busy"`    // by address: the rate of requests at full utilization, instead

	mu    sync.Mutex
	since map[string]time.Time
	load  map[string]float64
}

// usage returns the utilization of a backend with one more request, an average of some seconds.
func (n *naming) usage(address string) float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.since == nil {
		n.since, n.load = make(map[string]time.Time), make(map[string]float64)
	}
	const over = 3 // seconds
	n.load[address] = n.load[address]*math.Exp(-time.Since(n.since[address]).Seconds()/over) + 1/(over*n.Busy[address])
	n.since[address] = time.Now()
	return n.load[address]
}

func (*naming) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.naming", New: func() caddy.Module { return new(naming) }}
}

func (n *naming) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	res := &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: -1,
		Header: http.Header{"X-Upstream": {info.Address}}, Body: io.NopCloser(bytes.NewReader(nil)),
	}
	report := http.Header{"Endpoint-Load-Metrics": {n.Reports[info.Address]}}
	if n.Busy != nil {
		report.Set("Endpoint-Load-Metrics", fmt.Sprintf("TEXT named_metrics.kv_cache_usage_perc=%v, named_metrics.num_requests_waiting=0.0", n.usage(info.Address)))
	}
	if info.Address == "a:1" {
		res.Header.Set("Endpoint-Load-Metrics", report.Get("Endpoint-Load-Metrics"))
	} else {
		res.Trailer = report
	}
	return res, nil
}

// With orca_metric, the shares follow that metric, in headers and trailers: by it a could serve
// twice as much as b, and by the CPU half as much.
func TestOrcaMetric(t *testing.T) {
	for metric, share := range map[string]float64{"": 1. / 3, "queue": 2. / 3, "named_metrics.queue": 2. / 3, "utilization.gpu": 4. / 5, "absent": 1. / 3} {
		synctest.Test(t, func(t *testing.T) {
			option := ""
			if metric != "" {
				option = fmt.Sprintf(`,"orca_metric":%q`, metric)
			}
			p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"naming","reports":{
				"a:1":"TEXT cpu_utilization=0.4,rps_fractional=100,named_metrics.queue=0.1,utilization.gpu=0.1",
				"b:1":"JSON {\"cpu_utilization\":0.2,\"rps_fractional\":100,\"named_metrics\":{\"queue\":0.2},\"utilization\":{\"gpu\":0.4}}"}},
				"load_balancing":{"selection_policy":{"policy":"wrr"}},"dynamic_upstreams":{"source":"pool",`+dials("a:1", "b:1")+option+`}}`, nil)
			if err != nil {
				t.Fatal(err)
			}
			traffic{rate: 100, length: 12 * time.Second}.send(p)
			t.Log(metric)
			expectShare(t, traffic{rate: 300, length: 5 * time.Second}.send(p), share-0.01, share+0.01)
		})
	}
}

// Some servers, such as vLLM, report the metric and no rate. Then the rate of the requests to them
// counts: of two backends of which one is busier with the same requests, both get to the same
// utilization. Without the option such reports have no effect.
func TestOrcaMetricWithoutARate(t *testing.T) {
	for option, share := range map[string]float64{``: 1. / 2, `,"orca_metric":"kv_cache_usage_perc"`: 1. / 4} {
		synctest.Test(t, func(t *testing.T) {
			p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"naming","busy":{"a:1":100,"b:1":300}},
				"load_balancing":{"selection_policy":{"policy":"wrr"}},"dynamic_upstreams":{"source":"pool",`+dials("a:1", "b:1")+option+`}}`, nil)
			if err != nil {
				t.Fatal(err)
			}
			traffic{rate: 100, length: 20 * time.Second}.send(p)
			// In any 5 s, too: the shares do not swing.
			for range 6 {
				expectShare(t, traffic{rate: 100, length: 5 * time.Second}.send(p), share-0.05, share+0.05)
			}
		})
	}
}

func TestInvalidOrcaMetric(t *testing.T) {
	_, err := lbtest.Load(t, nil, proxy("wrr", dials("a:1")+`,"orca_metric":"a b"`), nil)
	if err == nil || !strings.Contains(err.Error(), `orca_metric must be the name of a metric such as`) {
		t.Errorf("got %v", err)
	}
}
