// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(rival)) }

// attempt is one attempt that came to a backend.
type attempt struct {
	address string
	at      time.Duration
	body    string
	header  http.Header
}

// diary records the attempts of a test.
type diary struct {
	mu    sync.Mutex
	began time.Time
	all   []attempt
}

// of returns an Answerer that records the attempt, reads its body, and answers by f.
func (d *diary) of(address string, f lbtest.Answerer) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		body := ""
		if req.Body != nil {
			all, _ := io.ReadAll(req.Body)
			body = string(all)
		}
		d.mu.Lock()
		d.all = append(d.all, attempt{address, time.Since(d.began), body, req.Header.Clone()})
		d.mu.Unlock()
		return f(req)
	}
}

func (d *diary) addresses() (all []string) {
	for _, a := range d.all {
		all = append(all, a.address)
	}
	return all
}

// trying returns a proxy to three backends, each with the same answers in turn, however many
// attempts came to which backend.
func trying(t *testing.T, policy, loadBalancing, pool string, answers ...lbtest.Answerer) (*lbtest.Proxy, *diary) {
	d, n := &diary{began: time.Now()}, atomic.Int64{}
	backends := make(lbtest.Backends)
	for _, address := range []string{"a:1", "b:1", "c:1"} {
		backends[address] = d.of(address, func(req *http.Request) (int, error) {
			return answers[min(int(n.Add(1)), len(answers))-1](req)
		})
	}
	p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{` + dials("a:1", "b:1", "c:1") + `,` + pool + `}}}`)},
		`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+cmp.Or(policy, `{"policy":"wrr"}`)+loadBalancing+`},"dynamic_upstreams":{"source":"pool","name":"web"}}`, backends)
	if err != nil {
		t.Fatal(err)
	}
	return p, d
}

// retryAfter answers with 503 and Retry-After.
func retryAfter(seconds string) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		lbtest.ResponseHeader(req).Set("Retry-After", seconds)
		return http.StatusServiceUnavailable, nil
	}
}

func grpcStatus(code string) lbtest.Answerer {
	return func(req *http.Request) (int, error) {
		lbtest.ResponseHeader(req).Set("Content-Type", "application/grpc")
		lbtest.ResponseHeader(req).Set("Grpc-Status", code)
		return http.StatusOK, nil
	}
}

func broken(*http.Request) (int, error) { return 0, syscall.ECONNRESET }

// What is repeated, and how often.
func TestRetry(t *testing.T) {
	const ok = http.StatusOK
	for name, tt := range map[string]struct {
		retry   string // options beside tries 2
		method  string
		header  string
		body    string
		answers []lbtest.Answerer
		tries   int // attempts
		want    int // status
	}{
		"well":                                  {answers: []lbtest.Answerer{status(ok)}, tries: 1, want: ok},
		"refused":                               {answers: []lbtest.Answerer{lbtest.Refused, status(ok)}, tries: 2, want: ok},
		"refused, a POST":                       {method: "POST", answers: []lbtest.Answerer{lbtest.Refused, status(ok)}, tries: 2, want: ok},
		"refused by all":                        {answers: []lbtest.Answerer{lbtest.Refused}, tries: 3, want: 502},
		"refused after the body was read":       {method: "POST", body: "hello", answers: []lbtest.Answerer{lbtest.Refused, status(ok)}, tries: 2, want: ok}, // by a stale connection before
		"reset":                                 {answers: []lbtest.Answerer{broken, status(ok)}, tries: 2, want: ok},
		"reset, a POST":                         {method: "POST", answers: []lbtest.Answerer{broken, status(ok)}, tries: 1, want: 502},
		"reset, a PUT by default":               {method: "PUT", answers: []lbtest.Answerer{broken, status(ok)}, tries: 1, want: 502},
		"reset, a PUT by option":                {retry: `,"on":["reset"]`, method: "PUT", body: "x", answers: []lbtest.Answerer{broken, status(ok)}, tries: 2, want: ok},
		"503 by default":                        {answers: []lbtest.Answerer{status(503), status(ok)}, tries: 1, want: 503},
		"503":                                   {retry: `,"on":["502-504"]`, answers: []lbtest.Answerer{status(503), status(ok)}, tries: 2, want: ok},
		"503 by all":                            {retry: `,"on":["502-504"]`, answers: []lbtest.Answerer{status(502), status(503), status(504)}, tries: 3, want: 504},
		"an error after an answer":              {retry: `,"on":["503","reset"]`, answers: []lbtest.Answerer{status(503), broken}, tries: 3, want: 503},
		"503, a POST":                           {retry: `,"on":["503"]`, method: "POST", answers: []lbtest.Answerer{status(503), status(ok)}, tries: 1, want: 503},
		"503, a POST with a key":                {retry: `,"on":["503"],"header":"Idempotency-Key"`, method: "POST", header: "Idempotency-Key", body: "hello", answers: []lbtest.Answerer{status(503), status(ok)}, tries: 2, want: ok},
		"503, a POST by method":                 {retry: `,"on":["503"],"methods":["POST"]`, method: "POST", body: "hello", answers: []lbtest.Answerer{status(503), status(ok)}, tries: 2, want: ok},
		"503, a GET, by POST":                   {retry: `,"on":["503"],"methods":["POST"]`, answers: []lbtest.Answerer{status(503), status(ok)}, tries: 1, want: 503},
		"a body that is too large":              {retry: `,"on":["503"],"body":4`, method: "PUT", body: "hello", answers: []lbtest.Answerer{status(503), status(ok)}, tries: 1, want: 503},
		"a body that just fits":                 {retry: `,"on":["503"],"body":5`, method: "PUT", body: "hello", answers: []lbtest.Answerer{status(503), status(ok)}, tries: 2, want: ok},
		"a timeout":                             {retry: `,"on":["timeout"],"timeout":"1s"`, answers: []lbtest.Answerer{hang, status(ok)}, tries: 2, want: ok},
		"a timeout without the option":          {retry: `,"timeout":"1s"`, answers: []lbtest.Answerer{hang, status(ok)}, tries: 1, want: 504},
		"timeouts":                              {retry: `,"on":["timeout"],"timeout":"1s"`, answers: []lbtest.Answerer{hang}, tries: 3, want: 504},
		"Retry-After of a second":               {retry: `,"on":["503"]`, answers: []lbtest.Answerer{retryAfter("1"), status(ok)}, tries: 2, want: ok},
		"Retry-After of two":                    {retry: `,"on":["503"]`, answers: []lbtest.Answerer{retryAfter("2"), status(ok)}, tries: 1, want: 503},
		"Retry-After of two, allowed":           {retry: `,"on":["503"],"retry_after":"2s"`, answers: []lbtest.Answerer{retryAfter("2"), status(ok)}, tries: 2, want: ok},
		"gRPC":                                  {retry: `,"on":["grpc:UNAVAILABLE"]`, method: "POST", header: "grpc", body: "x", answers: []lbtest.Answerer{grpcStatus("14"), grpcStatus("0")}, tries: 2, want: ok},
		"another gRPC status":                   {retry: `,"on":["grpc:UNAVAILABLE"]`, method: "POST", header: "grpc", body: "x", answers: []lbtest.Answerer{grpcStatus("13"), grpcStatus("0")}, tries: 1, want: ok},
		"a gRPC status by number, and defaults": {retry: `,"on":["connect","grpc:13"]`, method: "POST", header: "grpc", body: "x", answers: []lbtest.Answerer{lbtest.Refused, grpcStatus("13"), grpcStatus("0")}, tries: 3, want: ok},
	} {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []string{`{"policy":"wrr"}`, `{"policy":"round_robin"}`, `{"policy":"least_conn"}`, `{"policy":"random_choose","choose":2}`, `{"policy":"rendezvous","key":"host"}`, `{"policy":"sticky","header":"X-S"}`} {
				synctest.Test(t, func(t *testing.T) {
					p, d := trying(t, policy, "", `"retry":{"tries":2`+tt.retry+`}`, tt.answers...)
					req := httptest.NewRequest(cmp.Or(tt.method, "GET"), "http://x/", nil)
					if tt.body != "" {
						req = httptest.NewRequest(tt.method, "http://x/", strings.NewReader(tt.body))
					}
					if tt.header == "grpc" {
						req.Header.Set("Content-Type", "application/grpc")
						req.ProtoMajor = 2
					} else if tt.header != "" {
						req.Header.Set(tt.header, "1")
					}
					r := p.Serve(req)
					if r.Status != tt.want || len(d.all) != tt.tries {
						t.Fatalf("%s: %d after attempts at %v (%v), want %d after %d", policy, r.Status, d.addresses(), r.Err, tt.want, tt.tries)
					}
					for _, a := range d.all {
						if a.body != tt.body {
							t.Errorf("%s: %s got the body %q, want %q", policy, a.address, a.body, tt.body)
						}
					}
					if all := d.addresses(); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
						t.Errorf("%s: it was sent to %v: to one twice, although another was left", policy, all)
					}
					if n := strings.Count(r.Placeholder("attempts"), ","); n != tt.tries-1 {
						t.Errorf("%s: {http.ballast.attempts} is %q", policy, r.Placeholder("attempts"))
					}
					expectNothingTaken(t, "web")
				})
			}
		})
	}
}

// The placeholder tells of each attempt, and which answer was passed on.
func TestAttemptsPlaceholder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration, f lbtest.Answerer) lbtest.Answerer {
			return func(req *http.Request) (int, error) {
				lbtest.Wait(req.Context(), d)
				return f(req)
			}
		}
		p, _ := trying(t, "", "", `"retry":{"tries":2,"on":["503","reset"]}`, slow(12*ms, status(503)), slow(3*ms, broken), slow(8*ms, status(200)))
		got := p.Serve(newRequest()).Placeholder("attempts")
		for i, end := range []string{":503:12ms", ":reset:3ms", ":200:8ms*"} {
			if parts := strings.Split(got, ","); len(parts) != 3 || !strings.HasSuffix(parts[i], end) {
				t.Errorf("the attempts are %q, want one that ends in %q", got, end)
			}
		}
	})
}

// With full jitter, wait n is uniform up to 25ms x 2^(n-1), at most 250ms: of 400 requests the mean
// is within 4 standard deviations of its half, 4/sqrt(12)/sqrt(400) = 6 % of the bound.
func TestRetryBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sum [6]time.Duration
		for range 400 {
			p, d := trying(t, "", "", `"outliers":{"off":true},"retry":{"tries":6}`, lbtest.Refused)
			p.Serve(newRequest())
			for n := range sum {
				wait := d.all[n+1].at - d.all[n].at
				if bound := min(25*ms<<n, 250*ms); wait > bound {
					t.Fatalf("the wait before attempt %d was %v, want %v at most", n+2, wait, bound)
				}
				sum[n] += wait
			}
		}
		for n := range sum {
			bound := min(25*ms<<n, 250*ms)
			if mean := sum[n] / 400; mean < bound*44/100 || mean > bound*56/100 {
				t.Errorf("the mean wait before attempt %d is %v, want about half of %v", n+2, mean, bound)
			}
		}
	})
}

// The answer of the last attempt may come while its backend still reads the request: that goes on.
func TestLastAttemptKeepsItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type upload struct {
			body string
			err  error
		}
		var uploads []chan upload
		early := func(req *http.Request) (int, error) {
			done := make(chan upload, 1)
			uploads = append(uploads, done)
			go func() {
				all, err := io.ReadAll(req.Body)
				done <- upload{string(all), err}
			}()
			return http.StatusServiceUnavailable, nil
		}
		p := pooled(t, wrr, "", `"retry":{"tries":1,"on":["503"]}`, lbtest.Backends{"a:1": early, "b:1": early, "c:1": early})
		body, client := io.Pipe()
		req := httptest.NewRequest(http.MethodPut, "http://x/", body)
		req.ContentLength = 5
		if r := p.Serve(req); r.Status != http.StatusServiceUnavailable || len(uploads) != 2 {
			t.Fatalf("%d after %d attempts", r.Status, len(uploads))
		}
		go func() {
			_, _ = io.WriteString(client, "hello")
			client.Close()
		}()
		if got := <-uploads[1]; got.body != "hello" || got.err != nil {
			t.Errorf("the last backend got %q, %v", got.body, got.err)
		}
		<-uploads[0]
	})
}

// A kept Retry-After is the wait.
func TestRetryAfterIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"retry":{"tries":1,"on":["503"]}`, retryAfter("1"), status(200))
		if p.Serve(newRequest()); len(d.all) != 2 || d.all[1].at-d.all[0].at != time.Second {
			t.Errorf("attempts: %v", d.all)
		}
	})
}

// Caddy's own retries place a request for which there was no backend, and repeat no attempt that
// the pool has repeated.
func TestRetryBesideLbRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, failure := range map[string]lbtest.Answerer{"refused": lbtest.Refused, "reset": broken} {
			p, d := trying(t, "", `,"retries":5`, `"outliers":{"off":true},"retry":{"tries":1}`, failure)
			if r := p.Serve(newRequest()); r.Status != 502 || len(d.all) != 2 {
				t.Errorf("%s: %d after %v, want 502 after two", name, r.Status, d.addresses())
			}
		}
		d := &diary{began: time.Now()}
		answer := d.of("a:1", func(req *http.Request) (int, error) {
			lbtest.Wait(req.Context(), 100*ms)
			return 200, nil
		})
		one := pooled(t, `{"policy":"wrr"}`, `,"retries":10,"try_interval":"20ms"`, `"max_requests":1,"retry":{"tries":1}`,
			lbtest.Backends{"a:1": answer, "b:1": answer, "c:1": answer})
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if r := one.Serve(newRequest()); r.Status != 200 {
					t.Errorf("a request that waits for a slot: %d %v", r.Status, r.Err)
				}
			})
		}
		wg.Wait()
	})
}

// Two mechanisms for the same retries are refused.
func TestRetryRefusesRetryMatch(t *testing.T) {
	_, err := lbtest.Load(t, nil, `{"load_balancing":{"retries":1,"retry_match":[{"method":["PUT"]}]},
		"dynamic_upstreams":{"source":"pool",`+dials("a:1")+`,"retry":{"tries":1}}}`, nil)
	if err == nil || !strings.Contains(err.Error(), "lb_retry_match beside the pool's `retry`") {
		t.Errorf("got %v", err)
	}
}

// rival is a policy that chooses the first upstream. But for the first time, another request gets the
// last slot of its backend meanwhile.
type rival struct{ calls int }

func (*rival) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.rival", New: func() caddy.Module { return new(rival) }}
}

func (r *rival) Select(upstreams reverseproxy.UpstreamPool, _ *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	if r.calls++; r.calls > 1 {
		pool.Current("web").Find(upstreams[0].Dial).Take()
	}
	return upstreams[0]
}

// When the next backend is full by the time it is chosen, the last answer is passed on, and not that of
// a refused gRPC request.
func TestRefusedRetryPassesOnTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, `{"policy":"rival"}`, "", `"max_requests":1,"retry":{"tries":2,"on":["grpc:UNAVAILABLE"]}`, func(req *http.Request) (int, error) {
			lbtest.ResponseHeader(req).Set("Grpc-Message", "busy")
			return grpcStatus("14")(req)
		})
		req := httptest.NewRequest(http.MethodPost, "http://x/", strings.NewReader("x"))
		req.ProtoMajor = 2
		req.Header.Set("Content-Type", "application/grpc")
		if r := p.Serve(req); r.Header().Get("Grpc-Message") != "busy" || len(d.all) != 1 {
			t.Errorf("%d %v after attempts at %v, want the backend's answer after one", r.Status, r.Header(), d.addresses())
		}
	})
}

// A budget ends the retries, and the last answer is passed on.
func TestRetryBudgetEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"outliers":{"off":true},"retry_budget":{"ratio":0.1,"min":0},"retry":{"tries":1,"on":["503"]}`, status(503))
		for range 1000 {
			if r := p.Serve(newRequest()); r.Status != 503 || r.Err != nil {
				t.Fatalf("%d %v", r.Status, r.Err)
			}
		}
		// The budget counts in steps of 250 ms, of which it may leave a retry each.
		n := len(d.all) - 1000
		if n > 100 || n < 90 {
			t.Errorf("%d retries of 1000 requests, want 100 or a few less", n)
		}
		refused := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "status", "result", "refused")
		lost := p.Metric(t, "caddy_ballast_pool_retries_total", "trigger", "status", "result", "lost")
		if int(refused) != 1000-n || int(lost) != n {
			t.Errorf("metrics: %v refused, %v lost", refused, lost)
		}
	})
}

// A client that leaves during the wait ends the attempts, and no slot is kept.
func TestClientLeavesBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"max_requests":1,"retry":{"tries":5,"on":["503"],"retry_after":"10s"}`, retryAfter("5"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := p.Serve(newRequest().WithContext(ctx))
		if len(d.all) != 1 || time.Since(d.began) != time.Second {
			t.Errorf("%v after %v: %v", d.addresses(), time.Since(d.began), r.Err)
		}
		synctest.Wait()
		expectNothingTaken(t, "web")
	})
}

// header_up sees the backend of each attempt, and each attempt begins with the client's header.
func TestRetryEvaluatesHeaderUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{began: time.Now()}
		backends := make(lbtest.Backends)
		for _, address := range []string{"a:1", "b:1", "c:1"} {
			backends[address] = d.of(address, status(503))
		}
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},
			"headers":{"request":{"set":{"To":["{http.reverse_proxy.upstream.hostport}"]},"add":{"Seen":["{http.request.header.Seen}+"]}}},
			"dynamic_upstreams":{"source":"pool",`+dials("a:1", "b:1", "c:1")+`,"retry":{"tries":2,"on":["503"]}}}`, backends)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Serve(newRequest())
		for _, a := range d.all {
			if a.header.Get("To") != a.address || len(a.header["Seen"]) != 1 {
				t.Errorf("%s got %v", a.address, a.header)
			}
		}
		hostport, _ := r.Placeholders.GetString("http.reverse_proxy.upstream.hostport")
		if last := d.all[2].address; hostport != last || r.Placeholder("backend") != last {
			t.Errorf("the placeholders name %s and %s, want %s", hostport, r.Placeholder("backend"), last)
		}
	})
}

// While backends fail at random, each request is sent to every backend at most once, and none that
// another could have answered is lost.
func TestRetryLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{began: time.Now()}
		backends := make(lbtest.Backends)
		for i, address := range []string{"a:1", "b:1", "c:1"} {
			// One backend at a time is down, by turns of 10 s.
			backends[address] = d.of(address, func(*http.Request) (int, error) {
				if int(time.Since(d.began)/(10*time.Second))%3 == i {
					return 0, syscall.ECONNRESET
				}
				return 200, nil
			})
		}
		p := pooled(t, `{"policy":"p2c"}`, "", `"retry":{"tries":1}`, backends)
		for range 3000 {
			if r := p.Serve(newRequest()); r.Status != 200 {
				t.Fatalf("after %v: %d %v", time.Since(d.began), r.Status, r.Err)
			}
			time.Sleep(20 * ms)
		}
		if n := len(d.all); n > 3000+3*50 {
			t.Errorf("%d attempts: the failing backend was not avoided", n)
		}
	})
}
