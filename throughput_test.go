// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ballast_test

import (
	"encoding/json"
	"fmt"
	"io"
	weakrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	_ "github.com/ballast-lb/caddy-ballast"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() {
	caddy.RegisterModule(new(freshSource))
	caddy.RegisterModule(new(cannedTransport))
}

// freshSource makes all its upstreams anew for each request, as Caddy asks of
// sources; it is the least that such a source can do.
type freshSource struct {
	Addresses []string `json:"addresses"`
}

func (*freshSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.fresh", New: func() caddy.Module { return new(freshSource) }}
}

func (s *freshSource) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	upstreams := make([]*reverseproxy.Upstream, len(s.Addresses))
	for i, a := range s.Addresses {
		upstreams[i] = &reverseproxy.Upstream{Dial: a}
	}
	return upstreams, nil
}

// cannedTransport answers at once and costs next to nothing. Its body has a
// length: for others Caddy starts a timer, which would hide what is measured.
type cannedTransport struct{}

func (*cannedTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.canned", New: func() caddy.Module { return new(cannedTransport) }}
}

func (*cannedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: make(http.Header), Body: io.NopCloser(strings.NewReader(hello)), ContentLength: int64(len(hello)),
	}, nil
}

const hello = "hello, world"

// contenders are the set-ups to compare. All are measured against the first,
// which is Caddy alone; the second is the same, and tells what is noise.
// weighted_random is there for what any random choice costs: connections that are used
// in the order in which they were opened lie one behind the other in memory.
var contenders = []struct{ name, policy, upstreams string }{
	{"caddy_round_robin", "round_robin", `"upstreams": OBJECTS`},
	{"caddy_round_robin_again", "round_robin", `"upstreams": OBJECTS`},
	{"pool_wrr", "wrr", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS}`},
	{"pool_wrr_retry", "wrr", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS, "retry": {"tries": 1}}`},
	{"pool_wrr_hedge", "wrr", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS, "hedge": {"quantile": 0.99, "min": "1s"}}`},
	{"pool_weighted_random", "weighted_random", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS}`},
	{"pool_peak_ewma", "peak_ewma", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS}`},
	{"fresh_round_robin", "round_robin", `"dynamic_upstreams": {"source": "fresh", "addresses": STRINGS}`},
	{"pool_round_robin", "round_robin", `"dynamic_upstreams": {"source": "pool", "backends": OBJECTS}`},
}

// load provisions the contenders over the same n addresses.
func load(b *testing.B, transport string, n, port int) (proxies []*lbtest.Proxy) {
	addresses := addresses(n, port)
	var dials []map[string]string
	for _, a := range addresses {
		dials = append(dials, map[string]string{"dial": a})
	}
	asObjects, _ := json.Marshal(dials)
	asStrings, _ := json.Marshal(addresses)
	for _, c := range contenders {
		upstreams := strings.NewReplacer("OBJECTS", string(asObjects), "STRINGS", string(asStrings)).Replace(c.upstreams)
		proxies = append(proxies, lbtest.NewProxy(b, fmt.Sprintf(
			`{%s, "load_balancing": {"selection_policy": {"policy": %q}}, "transport": {"protocol": %q}}`,
			upstreams, c.policy, transport), nil))
	}
	return proxies
}

// addresses returns n backends, at one port; Linux takes all of 127.0.0.0/8 for
// its own.
func addresses(n, port int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("127.0.%d.%d:%d", i/250, i%250+1, port))
	}
	return all
}

// listen starts the server that all backends are, and returns its port.
func listen(b *testing.B) int {
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, hello)
	})}
	go func() { _ = server.Serve(ln) }()
	b.Cleanup(func() { _ = server.Close() })
	return ln.Addr().(*net.TCPAddr).Port
}

// BenchmarkRequest is the cost of one request through reverse_proxy to backends
// that answer at once, without sockets.
func BenchmarkRequest(b *testing.B) {
	for i, p := range load(b, "canned", 1000, 80) {
		b.Run(contenders[i].name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				send(b, p)
			}
		})
	}
}

// BenchmarkThroughput compares requests per second, on all cores, where this process
// calls the proxy's handler itself and, but for "memory", is the backends too; through a
// real Caddy it is measured in e2e. Each iteration is a round: a slice of time for each
// contender, in random order. It reports medians over the rounds, of the rates and of
// the ratios of the contenders' rates to that of the first, for pools of 10 and of 1,000.
// Ratios of requests per second of processor time (cpu) suffer less from other work on
// the machine. How a set-up comes to lie in memory makes a difference of some percent, so
// take several: -benchtime 100x -count 5.
func BenchmarkThroughput(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint("memory/", n), func(b *testing.B) { compare(b, n, load(b, "canned", n, 80)) })
		b.Run(fmt.Sprint("handler/", n), func(b *testing.B) { compare(b, n, load(b, "http", n, listen(b))) })
	}
}

const slice = 20 * time.Millisecond

func compare(b *testing.B, n int, proxies []*lbtest.Proxy) {
	for _, p := range proxies {
		for warm := 0; warm < 3*n && !b.Failed(); { // connects to every backend
			warm += drive(b, p, slice)
		}
	}
	wall, cpu := make([][]float64, len(proxies)), make([][]float64, len(proxies))
	for b.Loop() {
		for _, i := range weakrand.Perm(len(proxies)) {
			start, used := time.Now(), processorTime()
			n := float64(drive(b, proxies[i], slice))
			wall[i] = append(wall[i], n/time.Since(start).Seconds())
			cpu[i] = append(cpu[i], n/(processorTime()-used).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op") // a round takes what it takes
	for i, c := range contenders {
		b.ReportMetric(median(wall[i]), "req/s:"+c.name)
		if i > 0 {
			b.ReportMetric(medianRatio(wall[i], wall[0]), "ratio:"+c.name)
			b.ReportMetric(medianRatio(cpu[i], cpu[0]), "cpu-ratio:"+c.name)
		}
	}
}

func medianRatio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// drive sends requests for a while, several at a time, and counts them.
func drive(b *testing.B, p *lbtest.Proxy, d time.Duration) int {
	var total atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			n := 0
			for ; time.Now().Before(end) && !b.Failed(); n++ {
				send(b, p)
			}
			total.Add(int64(n))
		})
	}
	wg.Wait()
	return int(total.Load())
}

var (
	server  = new(caddyhttp.Server)
	request = httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)
)

// send sends a request as Caddy's server does, with as little around it.
func send(b *testing.B, p *lbtest.Proxy) {
	w := &sink{header: make(http.Header)}
	req := caddyhttp.PrepareRequest(request, caddy.NewReplacer(), w, server)
	if err := p.ServeHTTP(w, req, nil); err != nil || w.status != http.StatusOK {
		b.Errorf("status %d, %v", w.status, err)
	}
}

// sink is a client that only notes the status.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) Flush()                      {}
