// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// seen keeps what a backend was sent.
type seen struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (s *seen) then(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
		s.mu.Unlock()
		next(w, r)
	}
}

// Whatever is sent, all get it, with one key, and as reverse_proxy would send it.
func TestAllGetTheRequest(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at [3]seen
		s := newSite(t, servers{
			"a:1": at[0].then(after(2*time.Second, says(201, "a"))),
			"b:1": at[1].then(after(time.Second, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-From", "b")
				w.Header().Set("Keep-Alive", "timeout=5")
				w.WriteHeader(202)
				_, _ = io.WriteString(w, "from b")
			})),
			"c:1": at[2].then(after(3*time.Second, says(200, "c"))),
		}, nil, three)
		req := post("the body")
		req.Header.Set("Connection", "X-Hop, Idempotency-Key")
		req.Header.Set("X-Hop", "1")
		req.Header.Set("Idempotency-Key", "of the connection")
		req.Header.Set("Upgrade", "websocket")
		req.Header.Set("X-Own", "2")
		req.Header.Set("X-Forwarded-For", "forged")
		r := s.do(req)
		if r.err != nil || r.status != 202 || r.body != "from b" || r.header.Get("X-From") != "b" || r.header.Get("Keep-Alive") != "" {
			t.Errorf("got %d %v %q, %v, want the answer of b, which was the first to accept", r.status, r.header, r.body, r.err)
		}
		equal(t, "time of the answer", r.took, 3*time.Second)
		key := ""
		for i := range at {
			if len(at[i].requests) != 1 || at[i].bodies[0] != "the body" {
				t.Fatalf("backend %d got %d requests, %q", i, len(at[i].requests), at[i].bodies)
			}
			got := at[i].requests[0]
			if got.Method != "POST" || got.URL.Path != "/register" || got.URL.RawQuery != "a=b" || got.Host != "site" || got.ContentLength != 8 {
				t.Errorf("got %s %s %s, %d bytes", got.Method, got.Host, got.URL, got.ContentLength)
			}
			for field, want := range map[string]string{"X-Hop": "", "Connection": "", "Upgrade": "", "X-Own": "2", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "site", "Via": "1.1 Caddy"} {
				if got.Header.Get(field) != want {
					t.Errorf("%s is %q, want %q", field, got.Header.Get(field), want)
				}
			}
			if key = got.Header.Get("Idempotency-Key"); len(key) != 36 || key != at[0].requests[0].Header.Get("Idempotency-Key") {
				t.Errorf("the key is %q", key)
			}
		}
		equal(t, "fanout", r.Placeholder("fanout"), "reached")
		equal(t, "have", r.Placeholder("fanout.have"), "a:1,b:1,c:1")
		equal(t, "backend", r.Placeholder("backend"), "b:1")
	})
}

// A key of the client's own is kept, whatever its field is called.
func TestClientsKeyIsKept(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at seen
		s := newSite(t, servers{"a:1": at.then(inTurn(says(500, ""), says(200, "")))}, nil, `"upstreams":["a:1"],"idempotency_header":"x-once"`)
		req := post("")
		req.Header.Set("X-Once", "mine")
		if r := s.do(req); r.err != nil || r.status != 200 || len(at.requests) != 2 {
			t.Fatalf("got %d, %v, after %d requests", r.status, r.err, len(at.requests))
		}
		for _, got := range at.requests {
			equal(t, "key", got.Header.Get("X-Once"), "mine")
		}
	})
}

// The waits are those of the formula, and the same body is sent each time.
func TestRetriesWaitAsTheFormulaSays(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at seen
		var times []time.Duration
		began := time.Now()
		s := newSite(t, servers{"a:1": at.then(func(w http.ResponseWriter, r *http.Request) {
			times = append(times, time.Since(began))
			says(503, "")(w, r)
		})}, nil, `"upstreams":["a:1"],"retries":5,"timeout":"10m","backoff":{"base":"1s","max":"5s","jitter":"100ms"},"respond":"summary"`)
		r := s.do(post("again"))
		rep := r.report(t)
		if r.status != 502 || rep.Result != "no_quorum" || rep.Backends[0].Tries != 6 || rep.Backends[0].Status != 503 || rep.Backends[0].Write != "no" {
			t.Errorf("got %d, %+v", r.status, rep)
		}
		if len(times) != 6 {
			t.Fatalf("%d tries, want 6", len(times))
		}
		for n, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
			if wait := times[n+1] - times[n]; wait < want || wait > want+100*time.Millisecond {
				t.Errorf("the wait before retry %d is %v, want %v and up to 100ms", n, wait, want)
			}
			equal(t, "body", at.bodies[n+1], "again")
		}
	})
}

// A backend that hangs does not hold a majority's answer, and has a second more.
func TestHangingBackendDoesNotHoldAMajority(t *testing.T) {
	for _, respond := range []string{"first", "summary"} {
		bubble(t, respond, func(t *testing.T) {
			var gave time.Duration
			began := time.Now()
			s := newSite(t, servers{"a:1": after(time.Second, says(200, "a")), "b:1": after(2*time.Second, says(200, "b")), "c:1": func(w http.ResponseWriter, r *http.Request) {
				hang(w, r)
				gave = time.Since(began)
			}}, nil, three+`,"quorum":"majority","respond":"`+respond+`"`)
			r := s.do(post("x"))
			if r.err != nil || r.status != 200 || r.took != 2*time.Second {
				t.Errorf("got %d, %v after %v", r.status, r.err, r.took)
			}
			if respond == "summary" {
				rep := r.report(t)
				equal(t, "have", rep.Have, []string{"a:1", "b:1"})
				equal(t, "unknown", rep.Unknown, []string{"c:1"})
				equal(t, "pending", rep.Backends[2].Pending, true)
			} else {
				equal(t, "body", r.body, "a")
			}
			pass()
			equal(t, "time that c was given", gave, 3*time.Second)
			equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
		})
	}
}

// Nobody is tried again once the quorum cannot be reached, and what is in flight
// then has a second.
func TestLostQuorumEndsRetries(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": says(500, ""), "b:1": after(400*time.Millisecond, says(200, "")), "c:1": after(500*time.Millisecond, says(500, ""))},
			web(""), `"pool":"web","retries":0`)
		r := s.do(post("x"))
		if r.status != 502 || r.took != 500*time.Millisecond || r.Placeholder("reason") != "no_quorum" {
			t.Errorf("got %d after %v, %q", r.status, r.took, r.Placeholder("reason"))
		}
		rep := r.report(t)
		equal(t, "have", rep.Have, []string{"b:1"})
		equal(t, "have_not", rep.HaveNot, []string{"a:1", "c:1"})
		equal(t, "have", r.Placeholder("fanout.have"), "b:1")
		equal(t, "have_not", r.Placeholder("fanout.have_not"), "a:1,c:1")
		synctest.Wait() // for the log
		if logged := s.Logged("reason", "have", "have_not"); len(logged) != 1 || logged[0] != "fan-out did not reach its quorum no_quorum b:1 a:1,c:1" {
			t.Errorf("logged %q", logged)
		}
	})
	bubble(t, "with retries", func(t *testing.T) {
		// b has spent its retries after 1 s; a would have one at 2.5 s, and c hangs.
		s := newSite(t, servers{"a:1": inTurn(after(1500*time.Millisecond, says(500, "")), says(200, "")), "b:1": says(500, ""), "c:1": hang},
			nil, three+`,"retries":1,"backoff":{"base":"1s","max":"1s","jitter":0}`)
		r := s.do(post("x"))
		rep := r.report(t)
		if r.status != 502 || r.took != 2*time.Second {
			t.Errorf("got %d after %v", r.status, r.took)
		}
		equal(t, "tries", []int{rep.Backends[0].Tries, rep.Backends[1].Tries, rep.Backends[2].Tries}, []int{1, 2, 1})
		equal(t, "unknown", rep.Unknown, []string{"c:1"})
	})
}

// The time is for all tries and waits together.
func TestTimeout(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": hang, "c:1": says(500, "")}, nil, three+`,"retries":100,"timeout":"10s"`)
		r := s.do(post("x"))
		rep := r.report(t)
		if r.status != 504 || r.took != 10*time.Second || r.Placeholder("reason") != "timeout" {
			t.Errorf("got %d after %v, %q", r.status, r.took, r.Placeholder("reason"))
		}
		equal(t, "have", rep.Have, []string{"a:1"})
		equal(t, "have_not", rep.HaveNot, []string{"c:1"})
		equal(t, "unknown", rep.Unknown, []string{"b:1"})
		synctest.Wait()
		equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
		equal(t, "timeouts", s.metric(t, "requests_total", "result", "timeout"), 1)
	})
}

// A client that leaves ends it, unless it is detached.
func TestClientLeaves(t *testing.T) {
	for name, want := range map[string]int{"": 1, "detached": 2} {
		bubble(t, name, func(t *testing.T) {
			var at seen
			options := `"upstreams":["a:1"]`
			if name != "" {
				options += `,"detach":true`
			}
			s := newSite(t, servers{"a:1": at.then(inTurn(after(2*time.Second, says(500, "")), says(200, "")))}, nil, options)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			r := s.do(post("x").WithContext(ctx))
			if r.status != 499 || r.took != time.Second || r.Placeholder("reason") != "client_gone" {
				t.Errorf("got %d after %v, %q", r.status, r.took, r.Placeholder("reason"))
			}
			synctest.Wait()
			if name == "" {
				equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
			}
			pass()
			equal(t, "tries", len(at.requests), want)
			equal(t, "accepted", s.metric(t, "successes_total"), want-1)
			equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
		})
	}
}

// Detached, the rest is tried on after the answer, until the time is over.
func TestDetach(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var at seen
		s := newSite(t, servers{"a:1": says(200, "a"), "b:1": says(200, "b"), "c:1": at.then(inTurn(says(500, ""), says(500, ""), says(200, "")))},
			nil, three+`,"quorum":"2","detach":true`)
		if r := s.do(post("x")); r.status != 200 || r.took != 0 {
			t.Errorf("got %d after %v", r.status, r.took)
		}
		equal(t, "in flight", s.metric(t, "requests_in_flight"), 1)
		equal(t, "bytes", s.metric(t, "body_bytes"), 1)
		pass()
		equal(t, "bodies", at.bodies, []string{"x", "x", "x"})
		equal(t, "in flight", s.metric(t, "requests_in_flight")+s.metric(t, "body_bytes"), 0)
		equal(t, "failures of c", s.metric(t, "failures_total", "backend", "c:1"), 2)
		equal(t, "retries of c", s.metric(t, "retries_total", "backend", "c:1"), 2)
		equal(t, "successes", s.metric(t, "successes_total"), 3)
		equal(t, "tries", s.metric(t, "tries_total"), 5)
	})
}

// A configuration that ends waits for nobody. What is detached has five seconds.
func TestDetachedWorkEndsWithItsConfiguration(t *testing.T) {
	for name, want := range map[string]time.Duration{"soon": 2 * time.Second, "late": 5 * time.Second} {
		for _, left := range []bool{false, true} {
			bubble(t, name, func(t *testing.T) {
				var ended time.Duration
				slow := after(2*time.Second, says(200, ""))
				if name == "late" {
					slow = hang
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				s := newSite(t, servers{"a:1": func(w http.ResponseWriter, r *http.Request) {
					if left {
						cancel()
						hang(w, r)
					}
				}, "b:1": func(w http.ResponseWriter, r *http.Request) {
					slow(w, r)
					ended = time.Since(began)
				}}, nil, `"upstreams":["a:1","b:1"],"quorum":"1","detach":true`)
				if r := s.do(post("x").WithContext(ctx)); r.status != 200 && !left || r.status != 499 && left {
					t.Errorf("got %d", r.status)
				}
				s.Close()
				equal(t, "time to close", time.Since(began), 0)
				pass()
				equal(t, "the end of the other", ended, want)
				lbtest.NoLeaks(t)
			})
		}
	}
}

// What clients wait for, or read, ends where it began, whatever becomes of the
// configuration meanwhile.
func TestFanOutsEndWhereTheyBegan(t *testing.T) {
	for _, detach := range []string{"", `,"detach":true`} {
		bubble(t, "a slow backend"+detach, func(t *testing.T) {
			s := newSite(t, servers{"a:1": after(8*time.Second, says(200, "done")), "b:1": inTurn(after(6*time.Second, says(500, "")), says(200, ""))},
				nil, `"upstreams":["a:1","b:1"]`+detach)
			time.AfterFunc(500*time.Millisecond, s.Close)
			if r := s.do(post("x")); r.status != 200 || r.body != "done" && r.body != "" || r.took != 8*time.Second {
				t.Errorf("got %d %q after %v", r.status, r.body, r.took)
			}
			synctest.Wait()
			lbtest.NoLeaks(t)
		})
		bubble(t, "an answer that streams"+detach, func(t *testing.T) {
			s := newSite(t, servers{"a:1": func(w http.ResponseWriter, _ *http.Request) {
				for range 10 {
					_, _ = io.WriteString(w, strings.Repeat("x", 10))
					time.Sleep(time.Second)
				}
			}}, nil, `"upstreams":["a:1"]`+detach)
			time.AfterFunc(500*time.Millisecond, s.Close)
			if r := s.do(post("x")); r.status != 200 || len(r.body) != 100 {
				t.Errorf("got %d, %d bytes", r.status, len(r.body))
			}
		})
		bubble(t, "an upload"+detach, func(t *testing.T) {
			s := newSite(t, servers{"a:1": says(200, "done")}, nil, `"upstreams":["a:1"]`+detach)
			reader, writer := io.Pipe()
			time.AfterFunc(500*time.Millisecond, s.Close)
			time.AfterFunc(8*time.Second, func() { _, _ = io.WriteString(writer, "0123"); writer.Close() })
			req := httptest.NewRequest(http.MethodPost, "http://site/", struct{ io.Reader }{reader})
			req.ContentLength = 4
			if r := s.do(req); r.status != 200 || r.body != "done" {
				t.Errorf("got %d %q, %v", r.status, r.body, r.err)
			}
		})
	}
}

// deaf is a client that reads nothing, until its connection is given up.
type deaf struct {
	*httptest.ResponseRecorder
	gone chan struct{}
}

func (d deaf) Write([]byte) (int, error) {
	<-d.gone
	return 0, os.ErrDeadlineExceeded
}

// A client that does not read holds up no reload.
func TestDeafClientHoldsUpNoReload(t *testing.T) {
	for _, detach := range []string{"", `,"detach":true`} {
		bubble(t, detach, func(t *testing.T) {
			s := newSite(t, servers{"a:1": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1048576") // else Caddy flushes by a timer
				says(200, strings.Repeat("x", 1<<20))(w, r)
			}}, nil, `"upstreams":["a:1"]`+detach)
			client := deaf{httptest.NewRecorder(), make(chan struct{})}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }() // the answer is broken off
				_ = s.ServeHTTP(client, lbtest.Prepare(post("x"), caddy.NewReplacer(), client), nil)
			}()
			time.Sleep(time.Second)
			began := time.Now()
			s.Close()
			equal(t, "time to close", time.Since(began), 0)
			time.Sleep(time.Minute) // as Caddy's write_idle_timeout
			close(client.gone)
			<-done
			synctest.Wait()
			lbtest.NoLeaks(t)
		})
	}
}

// A backend that was lost in the middle of its answer is lost to the client too.
func TestBrokenAnswerIsBroken(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			w.(*piece).body.CloseWithError(io.ErrUnexpectedEOF)
		}}, nil, `"upstreams":["a:1"]`)
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("recovered %v", p)
			}
			equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
		}()
		s.do(post("x"))
		t.Error("the answer seems whole")
	})
}

// Answers come in pieces, when they come, and need no room.
func TestFirstAnswerIsStreamed(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
				time.Sleep(time.Second) // for longer than the timeout
			}
		}, "b:1": after(5*time.Second, says(200, ""))}, nil, `"upstreams":["a:1","b:1"]`)
		r := s.do(post("x"))
		if r.err != nil || len(r.body) != 100<<16 || r.took < 100*time.Second {
			t.Errorf("got %d bytes after %v, %v", len(r.body), r.took, r.err)
		}
	})
}

// 204, 304 and answers to HEAD have no body.
func TestAnswersWithoutBody(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
	}{{"POST", 204}, {"GET", 304}, {"HEAD", 200}, {"DELETE", 204}} {
		bubble(t, tt.method, func(t *testing.T) {
			h := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", "x")
				w.WriteHeader(tt.status)
			}
			s := newSite(t, servers{"a:1": h, "b:1": h, "c:1": h}, nil, three+`,"expect":["2xx","304"]`)
			r := s.do(httptest.NewRequest(tt.method, "http://site/", nil))
			if r.err != nil || r.status != tt.status || r.body != "" || r.header.Get("Etag") != "x" {
				t.Errorf("got %d %q %v, %v", r.status, r.body, r.header, r.err)
			}
		})
	}
}

// What a body may be is known before anything is sent.
func TestBodyIsBounded(t *testing.T) {
	for name, chunked := range map[string]bool{"declared": false, "chunked": true} {
		bubble(t, name, func(t *testing.T) {
			s := newSite(t, servers{}, nil, three+`,"max_body":10`)
			body := &counting{Reader: strings.NewReader(strings.Repeat("x", 10_000_000))}
			req := httptest.NewRequest(http.MethodPost, "http://site/", body)
			req.ContentLength = 10_000_000
			if chunked {
				req.ContentLength = -1
			}
			r := s.do(req)
			if r.status != 413 || r.Placeholder("reason") != "body_too_large" || !chunked && body.n > 0 || body.n > 11 {
				t.Errorf("got %d %q after %d bytes", r.status, r.Placeholder("reason"), body.n)
			}
			equal(t, "tries", s.metric(t, "tries_total"), 0)
			equal(t, "held", s.metric(t, "body_bytes")+s.metric(t, "requests_in_flight"), 0)
			equal(t, "refused", s.metric(t, "refused_total", "reason", "body_too_large"), 1)
		})
		bubble(t, name+" as much as may be", func(t *testing.T) {
			var at seen
			s := newSite(t, servers{"a:1": at.then(says(200, ""))}, nil, `"upstreams":["a:1"],"max_body":10`)
			req := post("0123456789")
			if chunked {
				req.ContentLength, req.TransferEncoding = -1, []string{"chunked"}
			}
			if r := s.do(req); r.status != 200 || at.bodies[0] != "0123456789" || at.requests[0].ContentLength != 10 {
				t.Errorf("got %d, sent %q, %d", r.status, at.bodies, at.requests[0].ContentLength)
			}
		})
	}
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// There are at most so many at once, and bytes; what is too much is told when to
// come again.
func TestFanOutsAreBounded(t *testing.T) {
	for name, options := range map[string]string{"requests": `"max_requests":2`, "bytes": `"max_body":10,"max_bytes":20`} {
		bubble(t, name, func(t *testing.T) {
			s := newSite(t, servers{"a:1": after(time.Second, says(200, ""))}, nil, `"upstreams":["a:1"],`+options)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					if r := s.do(post("0123456789")); r.status != 200 {
						t.Errorf("got %d", r.status)
					}
				})
			}
			synctest.Wait()
			if r := s.do(post("0123456789")); r.status != 503 || r.header.Get("Retry-After") != "1" || r.Placeholder("reason") != "busy" {
				t.Errorf("got %d %v %q", r.status, r.header, r.Placeholder("reason"))
			}
			wg.Wait()
			if r := s.do(post("0123456789")); r.status != 200 {
				t.Errorf("afterwards, got %d", r.status)
			}
		})
	}
}

// What counts on the backends of a pool is counted: attempts, failures, answers.
func TestTriesCountAsOutcomesOfThePool(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": inTurn(reset, says(503, ""), says(200, "")), "c:1": after(time.Second, func(w http.ResponseWriter, r *http.Request) {
			if n := pool.Current("web").Find("c:1").InFlight(); n != 1 {
				t.Errorf("%d in flight, want 1", n)
			}
			says(200, "")(w, r)
		})}, web(""), `"pool":"web"`)
		if r := s.do(post("x")); r.status != 200 {
			t.Fatalf("got %d, %v", r.status, r.err)
		}
		synctest.Wait()
		b := totals(t, "web", "b:1")
		if b.Requests != 3 || b.Failures[outlier.Reset]+b.Failures[outlier.Protocol] != 1 || b.Responses[5] != 1 || b.Responses[2] != 1 || b.InFlight != 0 {
			t.Errorf("counted of b: %+v", b)
		}
		if c := totals(t, "web", "c:1"); c.Requests != 1 || c.InFlight != 0 {
			t.Errorf("counted of c: %+v", c)
		}
	})
}

// A long answer that nobody wants in the end is let go, and its backend with it.
func TestLongAnswersAreLetGo(t *testing.T) {
	for name, options := range map[string]string{"lost": `"retries":0`, "late": `"timeout":"10s","retries":100`} {
		bubble(t, name, func(t *testing.T) {
			var ended error
			s := newSite(t, servers{"a:1": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1048576")
				_, ended = w.Write(make([]byte, 1<<20))
			}, "b:1": says(500, "")}, nil, `"upstreams":["a:1","b:1"],`+options)
			if r := s.do(post("x")); r.status < 502 {
				t.Errorf("got %d", r.status)
			}
			synctest.Wait()
			if ended == nil {
				t.Error("all of the answer was read")
			}
			equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
			lbtest.NoLeaks(t)
		})
	}
}

// slowly is the body and the connection of a client that sends nothing.
type slowly struct {
	*httptest.ResponseRecorder
	deadline chan struct{}
}

func (s slowly) SetReadDeadline(time.Time) error { close(s.deadline); return nil }

func (s slowly) Read([]byte) (int, error) { <-s.deadline; return 0, os.ErrDeadlineExceeded }

// A client that does not send its body keeps its place for as long as the timeout.
func TestSlowUploadsEnd(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{}, nil, three+`,"timeout":"10s"`)
		client := slowly{httptest.NewRecorder(), make(chan struct{})}
		req := httptest.NewRequest(http.MethodPost, "http://site/", struct{ io.Reader }{client})
		req.ContentLength = 10
		repl, began := caddy.NewReplacer(), time.Now()
		err := s.ServeHTTP(client, lbtest.Prepare(req, repl, client), nil)
		var herr caddyhttp.HandlerError
		if !errors.As(err, &herr) || herr.StatusCode != 408 || time.Since(began) != 10*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		equal(t, "held", s.metric(t, "body_bytes")+s.metric(t, "requests_in_flight"), 0)
		equal(t, "refused", s.metric(t, "refused_total", "reason", "body_timeout"), 1)
	})
}
