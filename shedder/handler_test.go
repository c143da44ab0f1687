// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

const oneBackend = `{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"a:1"}]}`

// hold keeps n requests in flight until it is called.
func hold(t *testing.T, s *site, n int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	next := s.next
	s.next = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { <-ctx.Done(); return nil })
	var held sync.WaitGroup
	for range n {
		held.Go(func() { s.do(get("/held")) })
	}
	synctest.Wait()
	s.next = next
	return func() {
		cancel()
		held.Wait()
	}
}

// answer is a next handler that answers at once.
func answer(status int) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(status)
		return nil
	})
}

// A refusal has a status, a Retry-After and a reason. An admitted request reaches the next handler.
func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		status       int
		low, high    int // of Retry-After
	}{
		{"default", `{"limiter":{"limiter":"fixed","limit":2}}`, 503, 1, 2},
		{"set", `{"limiter":{"limiter":"fixed","limit":2},"status":429,"retry_after":"90s"}`, 429, 90, 90},
		{"rounded up", `{"limiter":{"limiter":"fixed","limit":2},"retry_after":"1.2s"}`, 503, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, tt.config, oneBackend, nil)
				s.next = answer(http.StatusOK)
				if r := s.do(get("/")); r.status != 200 || r.shed != "admitted" || r.reason != "" || r.retryAfter != "" {
					t.Errorf("%+v below the limit", r)
				}
				defer hold(t, s, 2)()
				r := s.do(get("/"))
				seconds, err := strconv.Atoi(r.retryAfter)
				if r.status != tt.status || r.shed != "shed" || r.reason != "limit" || err != nil || seconds < tt.low || seconds > tt.high {
					t.Errorf("%+v at the limit", r)
				}
				if n := s.Metric(t, "caddy_ballast_shed_refused_total", "level", "normal", "reason", "limit"); n != 1 {
					t.Errorf("%v refused requests are counted", n)
				}
				if n := s.Metric(t, "caddy_ballast_shed_requests_in_flight"); n != 2 {
					t.Errorf("%v are in flight", n)
				}
			})
		})
	}
}

// A gRPC request is refused with a gRPC status, whatever the configured HTTP status.
func TestRefusalOfGRPC(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":1},"status":429}`, oneBackend, nil)
		defer hold(t, s, 1)()
		req := httptest.NewRequest(http.MethodPost, "http://x/shop.Orders/List", strings.NewReader("a message"))
		req.Header.Set("Content-Type", "application/grpc")
		w := httptest.NewRecorder()
		if err := s.shed.ServeHTTP(w, prepare(req, w), nil); err != nil || w.Code != 200 || w.Body.Len() != 0 {
			t.Fatalf("got %v, %d %q", err, w.Code, w.Body)
		}
		for field, want := range map[string]string{"Content-Type": "application/grpc", "Grpc-Status": "14", "Grpc-Message": "shed: limit", "Connection": ""} {
			if got := w.Header().Get(field); got != want {
				t.Errorf("%s is %q, want %q", field, got, want)
			}
		}
		req.Header.Set("Content-Type", "application/grpc-web+proto")
		if err := s.shed.ServeHTTP(w, prepare(req, w), nil); err == nil {
			t.Error("gRPC-Web is not refused with a status of HTTP")
		}
	})
}

// A refusal does not read the body, and keeps the server from reading it. It closes the connection,
// so that the unread body is not parsed as a request.
func TestRefusalReadsNoBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":1}}`, oneBackend, nil)
		defer hold(t, s, 1)()
		read := false
		body := readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF })
		req := httptest.NewRequest(http.MethodPost, "http://x/", body)
		w := httptest.NewRecorder()
		if err := s.shed.ServeHTTP(w, prepare(req, w), nil); err == nil {
			t.Fatal("the request is not refused")
		}
		if read || w.Header().Get("Connection") != "close" {
			t.Errorf("read %v, header %v", read, w.Header())
		}
		w = httptest.NewRecorder()
		if err := s.shed.ServeHTTP(w, prepare(get("/"), w), nil); err == nil || w.Header().Get("Connection") != "" {
			t.Errorf("without a body: %v, header %v", err, w.Header())
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// In shadow mode all requests are admitted, and refusals are counted.
func TestShadow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":2},"shadow":true,"queue":{"size":5}}`, oneBackend, nil)
		s.next = answer(http.StatusOK)
		defer hold(t, s, 2)()
		for range 3 {
			if r := s.do(get("/")); r.status != 200 || r.shed != "shed" || r.reason != "" || r.retryAfter != "" || r.err != nil {
				t.Errorf("%+v in shadow mode", r)
			}
		}
		if n := s.Metric(t, "caddy_ballast_shed_refused_total"); n != 3 {
			t.Errorf("%v refusals are counted, want 3", n)
		}
		// Requests that would have been refused do not count as in flight.
		if n := s.Metric(t, "caddy_ballast_shed_requests_in_flight"); n != 2 {
			t.Errorf("%v in flight", n)
		}
		if n := len(s.Logged("requests")); n != 1 {
			t.Errorf("refusals are logged %d times within a second", n)
		}
	})
}

// Each key has its own limit. Keys beyond max_keys share one.
func TestPerKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":2},"per":{"key":"header","key_name":"X-Tenant","max_keys":16}}`, oneBackend, nil)
		ctx, cancel := context.WithCancel(t.Context())
		s.next = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { <-ctx.Done(); return nil })
		var refused atomic.Int64
		var all sync.WaitGroup
		send := func(tenant string) {
			all.Go(func() {
				req := get("/")
				if tenant != "" {
					req.Header.Set("X-Tenant", tenant)
				}
				if s.do(req).shed == "shed" {
					refused.Add(1)
				}
			})
			synctest.Wait()
		}
		for _, tenant := range []string{"a", "a", "a", "b", "", "", ""} {
			send(tenant)
		}
		if refused.Load() != 2 {
			t.Errorf("%d are refused, want the third of a and the third without a key", refused.Load())
		}
		for i := range 1000 {
			send(strconv.Itoa(i))
		}
		// At most 16 keys and one shared gate for each of 16 shards, with two slots each.
		if n := 1007 - refused.Load(); n > 2*(16+16) {
			t.Errorf("%d are admitted", n)
		}
		if n := s.Metric(t, "caddy_ballast_shed_keys"); n != 16 {
			t.Errorf("%v keys, want 16", n)
		}
		cancel()
		all.Wait()
		s.next = answer(http.StatusOK)
		for i := range 1000 { // new keys replace idle ones
			req := get("/")
			req.Header.Set("X-Tenant", strconv.Itoa(i))
			if r := s.do(req); r.shed != "admitted" {
				t.Fatalf("%+v while all are idle", r)
			}
		}
		if n := s.Metric(t, "caddy_ballast_shed_requests_in_flight"); n != 0 {
			t.Errorf("%v in flight at the end", n)
		}
	})
}

// Many of 10,000 requests are cancelled, time out, upgrade, fail or panic, and the handler is
// reloaded in between. None stays in flight or in the queue.
func TestNothingLeaks(t *testing.T) {
	for _, config := range []string{
		`{"limiter":{"limiter":"fixed","limit":20},"queue":{"size":30,"timeout":"200ms"}}`,
		`{"limiter":{"limiter":"gradient","initial_limit":20},"queue":{"size":30,"timeout":"200ms"},
			"priorities":[{"level":"critical","match":[{"path":["/1*"]}]},{"level":"low","match":[{"path":["/2*"]}]}]}`,
		`{"per":{"key":"path"},"limiter":{"limiter":"exponential","limit":3}}`,
		`{"limiter":{"limiter":"aimd"},"when":[{"signal":"cpu","above":0.99}]}`,
	} {
		t.Run(config, func(t *testing.T) {
			bubble(t, func(t *testing.T) { leak(t, config) })
		})
	}
}

func leak(t *testing.T, config string) {
	s := newSite(t, config, oneBackend, nil)
	s.next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if lbtest.Wait(r.Context(), time.Duration(n%97)*time.Millisecond); r.Context().Err() != nil {
			return r.Context().Err()
		}
		switch n % 11 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			w.WriteHeader(http.StatusSwitchingProtocols)
			<-r.Context().Done()
		case 2:
			return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("full"))
		case 3:
			_, _ = io.WriteString(w, "a body without a header")
			panic(http.ErrAbortHandler)
		case 4:
			return nil
		case 5:
			_, _ = io.Copy(io.Discard, r.Body)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
	var handlers atomic.Pointer[site]
	handlers.Store(s)
	var all sync.WaitGroup
	for i := range 10_000 {
		if i%2_500 == 2_499 { // a reload
			before := handlers.Load()
			again := newSite(t, config, oneBackend, nil)
			again.next = s.next
			handlers.Store(again)
			defer before.Close()
		}
		all.Go(func() {
			defer func() { _ = recover() }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%300)*time.Millisecond)
			defer cancel()
			req := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://x/"+strconv.Itoa(i%1000), strings.NewReader("body"))
			handlers.Load().do(req)
		})
		time.Sleep(time.Duration(i%3) * 100 * time.Microsecond)
	}
	all.Wait()
	last := handlers.Load()
	for _, name := range []string{"requests_in_flight", "queue_length"} {
		if n := last.Metric(t, "caddy_ballast_shed_"+name); n != 0 {
			t.Errorf("%s is %v at the end", name, n)
		}
	}
	let := last.Metric(t, "caddy_ballast_shed_admitted_total")
	refused := last.Metric(t, "caddy_ballast_shed_refused_total")
	if let+refused != 10_000 || let == 0 {
		t.Errorf("%v admitted and %v refused, of 10000, over reloads", let, refused)
	}
}

// A reload with the same configuration keeps the requests in flight and the learned limit. Another
// configuration, or a rejected one, does not affect them.
func TestReload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const config = `{"limiter":{"limiter":"fixed","limit":2}}`
		before := newSite(t, config, oneBackend, nil)
		release := hold(t, before, 2)
		same := newSite(t, config, oneBackend, nil)
		same.next = answer(http.StatusOK)
		if r := same.do(get("/")); r.shed != "shed" {
			t.Errorf("%+v in the same configuration, whose limit is reached", r)
		}
		if _, err := same.Context().LoadModuleByID("http.handlers.shed", []byte(`{"limiter":{"limiter":"fixed","limit":0}}`)); err == nil {
			t.Error("a limit of 0 is accepted")
		}
		other := newSite(t, `{"limiter":{"limiter":"fixed","limit":3}}`, oneBackend, nil)
		other.next = answer(http.StatusOK)
		if r := other.do(get("/")); r.shed != "admitted" {
			t.Errorf("%+v in another configuration", r)
		}
		other.Close()
		before.Close()
		if r := same.do(get("/")); r.shed != "shed" {
			t.Errorf("%+v after the first configuration is unloaded", r)
		}
		release()
		if r := same.do(get("/")); r.shed != "admitted" {
			t.Errorf("%+v with a free slot", r)
		}
	})
}

// Handlers with the same name share their state. Handlers without a name share it only with the
// same options.
func TestNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const named = `{"name":"api","limiter":{"limiter":"fixed","limit":2}}`
		s := newSite(t, named, oneBackend, nil)
		s.next = answer(http.StatusOK)
		defer hold(t, s, 2)()
		for config, want := range map[string]string{
			named: "shed",
			`{"limiter":{"limiter":"fixed","limit":2}}`:                           "admitted",
			`{"limiter":{"limiter":"fixed","limit":2},"status":429}`:              "admitted", // a duplicate
			`{"name":"api","limiter":{"limiter":"fixed","limit":2},"status":429}`: "shed",
		} {
			if r := (&site{Proxy: s.Proxy, shed: load(t, s.Proxy, config), next: s.next}).do(get("/")); r.shed != want {
				t.Errorf("%s: %s, want %s", config, r.shed, want)
			}
		}
		_, err := s.Context().LoadModuleByID("http.handlers.shed", []byte(`{"name":"api","limiter":{"limiter":"fixed","limit":3}}`))
		if err == nil || !strings.Contains(err.Error(), `two shed handlers are named "api"`) {
			t.Errorf("another configuration of the same name: %v", err)
		}
		if n := s.Metric(t, "caddy_ballast_shed_limit", "shed", "fixed-2"); n != 2 {
			t.Errorf("the limit of the duplicate is %v", n)
		}
	})
}
