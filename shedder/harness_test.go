// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	"github.com/ballast-lb/caddy-ballast/shedder"
)

func TestMain(m *testing.M) { lbtest.Main(m) }

// site is a shed handler in front of a reverse_proxy.
type site struct {
	*lbtest.Proxy
	shed *shedder.Handler
	next caddyhttp.Handler // instead of the proxy
}

// newSite loads both in a new configuration.
func newSite(t testing.TB, shed, proxy string, backends lbtest.Backends) *site {
	t.Helper()
	p, err := lbtest.Load(t, nil, proxy, backends)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Proxy: p, shed: load(t, p, shed)}
}

func load(t testing.TB, p *lbtest.Proxy, shed string) *shedder.Handler {
	t.Helper()
	mod, err := p.Context().LoadModuleByID("http.handlers.shed", json.RawMessage(shed))
	if err != nil {
		t.Fatal(err)
	}
	return mod.(*shedder.Handler)
}

// reply is the outcome of a request.
type reply struct {
	status     int // of the response or the error
	retryAfter string
	upstream   string
	shed       string // placeholders
	reason     string
	err        error
}

// do sends one request.
func (s *site) do(req *http.Request) reply {
	r := lbtest.Serve(s.shed, req, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if s.next != nil {
			return s.next.ServeHTTP(w, r)
		}
		return s.Proxy.ServeHTTP(w, r, nil)
	}))
	return reply{
		status: r.Status, retryAfter: r.Header().Get("Retry-After"), upstream: r.Header().Get("X-Upstream"),
		shed: r.Placeholder("shed"), reason: r.Placeholder("reason"), err: r.Err,
	}
}

func prepare(req *http.Request, w http.ResponseWriter) *http.Request {
	return lbtest.Prepare(req, caddy.NewReplacer(), w)
}

func get(path string) *http.Request { return httptest.NewRequest(http.MethodGet, "http://x"+path, nil) }

// workers is a backend that serves n requests concurrently, each in a fixed time.
type workers struct {
	sem  chan struct{} // one element for each busy worker
	more chan struct{} // one element for each idle worker that was added later
	time atomic.Int64
	peak atomic.Int64
	busy atomic.Int64
}

func newWorkers(n int, d time.Duration) *workers {
	w := &workers{sem: make(chan struct{}, n), more: make(chan struct{}, 100)}
	w.time.Store(int64(d))
	return w
}

func (w *workers) serve(req *http.Request) (int, error) {
	n := w.busy.Add(1)
	defer w.busy.Add(-1)
	for {
		if peak := w.peak.Load(); n <= peak || w.peak.CompareAndSwap(peak, n) {
			break
		}
	}
	select {
	case w.sem <- struct{}{}:
		defer func() { <-w.sem }()
	case <-w.more:
		defer func() { w.more <- struct{}{} }()
	case <-req.Context().Done():
		return 0, req.Context().Err()
	}
	time.Sleep(time.Duration(w.time.Load()))
	return http.StatusOK, nil
}

// three are the backends of the published comparison, with a capacity of 600 requests a second.
type three [3]*workers

func newThree() (all three) {
	for i := range all {
		all[i] = newWorkers(10, 50*time.Millisecond)
	}
	return all
}

// workers changes the number of workers of each backend.
func (all three) workers(more int) {
	for _, w := range all {
		for range max(more, -more) {
			if more > 0 {
				w.more <- struct{}{}
			} else {
				go func() { w.sem <- struct{}{} }()
			}
		}
	}
}

// takes changes the latency of the backends.
func (all three) takes(d time.Duration) {
	for _, w := range all {
		w.time.Store(int64(d))
	}
}

func (all three) backends() lbtest.Backends {
	return lbtest.Backends{"a:1": all[0].serve, "b:1": all[1].serve, "c:1": all[2].serve}
}

const (
	capacity  = 600 // requests a second
	unloaded  = 50 * time.Millisecond
	poolProxy = `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"}]}}`
)

// offered is an open-loop load: requests with Poisson arrivals, for a length of time.
type offered struct {
	rate    float64 // a second
	length  time.Duration
	timeout time.Duration
	request func() *http.Request // default: GET /
	seed    uint64
}

// answered is one request of the load and its outcome.
type answered struct {
	reply
	path     string
	at, took time.Duration
}

// send sends the load and waits until all requests have ended.
func (o offered) send(s *site) (all []answered) {
	rng := rand.New(rand.NewPCG(o.seed, 7))
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for next := time.Duration(0); next < o.length; next += time.Duration(rng.ExpFloat64() / o.rate * float64(time.Second)) {
		time.Sleep(time.Until(began.Add(next)))
		wg.Go(func() {
			req := get("/")
			if o.request != nil {
				req = o.request()
			}
			ctx, cancel := context.WithTimeout(req.Context(), cmp.Or(o.timeout, time.Second))
			defer cancel()
			a := answered{reply: s.do(req.WithContext(ctx)), path: req.URL.Path, at: next, took: time.Since(began) - next}
			mu.Lock()
			all = append(all, a)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all
}

// figures summarizes the outcomes of the requests that were sent from a time on.
type figures struct {
	sent, good, shed int
	goodput          float64 // a second
	p50, p99         time.Duration
}

func figuresOf(all []answered, from, to time.Duration) (f figures) {
	var took []time.Duration
	for _, a := range all {
		if a.at < from || a.at >= to {
			continue
		}
		f.sent++
		switch {
		case a.shed == "shed":
			f.shed++
		case a.err == nil && a.status == http.StatusOK:
			f.good++
			took = append(took, a.took)
		}
	}
	slices.Sort(took)
	if len(took) > 0 {
		f.p50, f.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	f.goodput = float64(f.good) / (to - from).Seconds()
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%d sent, %d shed, goodput %.0f/s, p50 %v, p99 %v", f.sent, f.shed, f.goodput, f.p50.Round(time.Millisecond), f.p99.Round(time.Millisecond))
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
