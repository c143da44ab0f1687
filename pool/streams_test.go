// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(streaming)) }

// streaming is a transport whose backends stream until the request ends. The path says what they
// do: /events streams at once, /late after 2 s, and /wait answers after 4 s. An upgrade echoes.
type streaming struct{}

func (*streaming) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.streaming", New: func() caddy.Module { return new(streaming) }}
}

func (*streaming) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	lbtest.Wait(ctx, map[string]time.Duration{"/late": 2 * time.Second, "/wait": 4 * time.Second}[req.URL.Path])
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res := &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, Header: make(http.Header)}
	switch {
	case req.Header.Get("Upgrade") != "":
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			_, _ = io.Copy(far, far)
		}()
		res.StatusCode, res.Body, res.Header = http.StatusSwitchingProtocols, near, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}}
	case req.URL.Path == "/wait":
		res.Body, res.ContentLength = io.NopCloser(strings.NewReader("text")), 4
	default:
		res.Header.Set("Content-Type", "text/event-stream")
		res.Body, res.ContentLength = &endless{ctx: ctx}, -1
	}
	return res, nil
}

// endless is a body with a byte, and then nothing until the context ends. It must not be closed
// while it is read.
type endless struct {
	ctx  context.Context
	mu   sync.Mutex
	sent bool
}

func (e *endless) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.sent {
		e.sent = true
		return copy(p, "x"), nil
	}
	<-e.ctx.Done()
	return 0, e.ctx.Err()
}

func (e *endless) Close() error {
	if !e.mu.TryLock() {
		panic("closed while it is read")
	}
	e.mu.Unlock()
	return nil
}

// hijackable is a client whose connection may be taken over.
type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// stream is one request of a client.
type stream struct {
	conn   net.Conn // of the client, upgraded
	status int      // when it has ended
	body   string   // likewise
	cut    bool     // the response was aborted, or the connection closed
	ended  atomic.Bool
	cancel context.CancelFunc
}

// start sends a request on a goroutine of its own.
func start(t *testing.T, p *lbtest.Proxy, path string, upgrade bool) *stream {
	ctx, cancel := context.WithCancel(t.Context())
	near, far := net.Pipe()
	s := &stream{conn: near, cancel: cancel}
	w := hijackable{httptest.NewRecorder(), far}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x"+path, nil)
	if upgrade {
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}}
	}
	go func() {
		defer func() {
			cancel() // as Caddy's server does
			s.cut = recover() == http.ErrAbortHandler || upgrade
			s.status, s.body = w.Code, w.Body.String()
			s.ended.Store(true)
		}()
		if err := p.ServeHTTP(w, lbtest.Prepare(req, caddy.NewReplacer(), w), nil); err != nil {
			s.status = http.StatusBadGateway
		}
	}()
	return s
}

// echoes reports whether an upgraded connection works in both directions.
func (s *stream) echoes() bool {
	_ = s.conn.SetDeadline(time.Now().Add(time.Second))
	got := make([]byte, 5)
	if _, err := io.WriteString(s.conn, "hello"); err != nil {
		return false
	}
	_, err := io.ReadFull(s.conn, got)
	return err == nil && string(got) == "hello"
}

// streamingProxy returns a proxy with one backend, a:1, and further options of its pool.
func streamingProxy(more string) string {
	return `{"transport":{"protocol":"streaming"},"dynamic_upstreams":{"source":"pool","name":"web",` + dials("a:1") + more + `}}`
}

// expectFree checks that nothing is in flight to a backend, and how many attempts on_down ended.
func expectFree(t *testing.T, b *backend.Backend, closed int64) {
	t.Helper()
	totals := b.Totals()
	if b.Taken() != 0 || totals.InFlight != 0 || pool.Current(b.Pool).InFlight() != 0 {
		t.Errorf("%d slots are taken, %d in flight, %d in the pool", b.Taken(), totals.InFlight, pool.Current(b.Pool).InFlight())
	}
	if n := totals.Failures[outlier.Closed]; n != closed {
		t.Errorf("%d attempts were closed, want %d", n, closed)
	}
	if _, bad := b.Outcomes(); bad != 0 || b.Ejections() != 0 {
		t.Errorf("%d errors and %d ejections of a backend whose streams were closed", bad, b.Ejections())
	}
}

// With `on_down close`, upgraded connections and responses under way end when their backend goes
// down by its checks, or into maintenance; each once, with one event. What is drained, or ejected,
// keeps them, and so does everything by default. A request that waits for its header is answered.
func TestOnDown(t *testing.T) {
	const n = 50 // streams of each kind
	down := func(w *world) { w.set(func() { w.sick["a:1"] = true }) }
	for _, tt := range []struct {
		name, option string
		end          func(t *testing.T, w *world)
		reason       string // of the event; "" for none
	}{
		{"down", `,"on_down":"close"`, func(_ *testing.T, w *world) { down(w) }, "down"},
		{"down, with a limit", `,"on_down":"close","max_requests":1000`, func(_ *testing.T, w *world) { down(w) }, "down"},
		{"maint", `,"on_down":"close"`, func(t *testing.T, _ *world) { alter(t, "a:1", admin(health.Maint)) }, "maint"},
		{"drain, then maint", `,"on_down":"close"`, func(t *testing.T, _ *world) {
			alter(t, "a:1", admin(health.Drain))
			alter(t, "a:1", admin(health.Maint))
		}, "maint"},
		{"down, then maint", `,"on_down":"close"`, func(t *testing.T, w *world) {
			down(w)
			seconds(1)
			alter(t, "a:1", admin(health.Maint))
		}, "down"},
		{"drain", `,"on_down":"close"`, func(t *testing.T, _ *world) { alter(t, "a:1", admin(health.Drain)) }, ""},
		{"ejection", `,"on_down":"close"`, func(t *testing.T, _ *world) {
			member(t, "a:1").Eject(0, pool.Current("web").Options().Outliers, "test", false)
		}, ""},
		{"removal", `,"on_down":"close"`, func(t *testing.T, _ *world) { remove(t, "a:1") }, ""},
		{"by default", ``, func(t *testing.T, w *world) { down(w); seconds(1); alter(t, "a:1", admin(health.Maint)) }, ""},
		{"keep", `,"on_down":"keep"`, func(t *testing.T, w *world) { down(w); seconds(1); alter(t, "a:1", admin(health.Maint)) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := load(t, nil, streamingProxy(tt.option+`,"guard":false,`+check(t, "")))
				seconds(0.1)
				b := member(t, "a:1")
				seen := events(t, p, "backend_streams_closed")
				var all []*stream
				for range n {
					all = append(all, start(t, p, "/events", false), start(t, p, "/events", true))
				}
				synctest.Wait()
				for _, s := range all[1:2] {
					if !s.echoes() {
						t.Error("the upgraded connection does not work")
					}
				}
				waiting := start(t, p, "/wait", false)
				synctest.Wait()
				if b.InFlight() != 2*n+1 {
					t.Fatalf("%d are in flight, want %d", b.InFlight(), 2*n+1)
				}
				tt.end(t, w)
				seconds(1.1)
				for i, s := range all {
					if s.ended.Load() != (tt.reason != "") {
						t.Fatalf("stream %d has ended: %v", i, s.ended.Load())
					}
					if s.ended.Load() && (!s.cut || i%2 == 0 && s.body != "x") {
						t.Errorf("stream %d: cut is %v after %q", i, s.cut, s.body)
					}
				}
				if waiting.ended.Load() {
					t.Error("a request that waits for its header was ended")
				}
				seconds(3)
				if !waiting.ended.Load() || waiting.status != http.StatusOK || waiting.body != "text" || waiting.cut {
					t.Errorf("the request that waited got %d and %q", waiting.status, waiting.body)
				}
				var want []string
				closed := int64(0)
				if tt.reason != "" {
					want = append(want, "backend_streams_closed web a:1 <nil> "+tt.reason)
					closed = 2 * n
					expectFree(t, b, closed)
				}
				if got := seen(); !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}
				line := fmt.Sprintf("streams of the backend were closed a:1 %s %d", tt.reason, 2*n)
				if slices.Contains(p.Logged("backend", "reason", "closed"), line) != (tt.reason != "") {
					t.Errorf("logged %q, want %q", p.Logged("backend", "reason", "closed"), line)
				}
				for _, s := range all {
					s.cancel()
					s.conn.Close()
				}
				synctest.Wait()
				if b.Taken() != 0 || b.Totals().Failures[outlier.Closed] != closed {
					t.Errorf("%d slots are taken, %d were closed", b.Taken(), b.Totals().Failures[outlier.Closed])
				}
			})
			lbtest.NoLeaks(t)
		})
	}
}

// An upgrade that a backend accepts after it went down is closed at once. A response that comes
// later goes on, and ends when the backend goes down again. What begins while the backend is down,
// as in panic, is left alone until the operator wants none.
func TestOnDownOfLateStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, nil, streamingProxy(`,"on_down":"close","guard":false,"panic":1,`+check(t, "")))
		seconds(0.1)
		b := member(t, "a:1")
		upgrade, events := start(t, p, "/late", true), start(t, p, "/late", false)
		w.set(func() { w.sick["a:1"] = true })
		seconds(1)
		if b.Up() {
			t.Fatal("the backend is up")
		}
		inPanic := start(t, p, "/events", true)
		seconds(3)
		if !upgrade.ended.Load() {
			t.Error("an upgraded connection to a backend that went down is open")
		}
		if events.ended.Load() || inPanic.ended.Load() || !inPanic.echoes() {
			t.Errorf("ended: a response that came late: %v; a connection made in panic: %v", events.ended.Load(), inPanic.ended.Load())
		}
		alter(t, "a:1", admin(health.Maint))
		synctest.Wait()
		if !events.ended.Load() || !inPanic.ended.Load() {
			t.Errorf("in maintenance, ended are the response: %v, the connection: %v", events.ended.Load(), inPanic.ended.Load())
		}
		expectFree(t, b, 3)
		upgrade.conn.Close()
		inPanic.conn.Close()
	})
	lbtest.NoLeaks(t)
}

// Streams keep the option of the configuration in which they began, whatever the configuration after a reload has.
func TestOnDownOverReload(t *testing.T) {
	for _, tt := range []struct {
		before, after string
		closed        int64
	}{{"close", "close", 1}, {"close", "keep", 1}, {"keep", "close", 0}} {
		t.Run(tt.before+" "+tt.after, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newWorld(t)
				config := func(onDown string) string {
					return streamingProxy(`,"on_down":"` + onDown + `","guard":false,` + check(t, ""))
				}
				p := load(t, nil, config(tt.before))
				seconds(0.1)
				s := start(t, p, "/events", false)
				synctest.Wait()
				next := load(t, nil, config(tt.after))
				p.Close()
				seconds(1)
				if s.ended.Load() {
					t.Fatal("a reload has ended a stream")
				}
				own := start(t, next, "/events", false)
				synctest.Wait()
				alter(t, "a:1", admin(health.Maint))
				synctest.Wait()
				if ended := s.ended.Load() && s.cut; ended != (tt.closed > 0) {
					t.Errorf("the stream of the configuration before has ended: %v", ended)
				}
				if own.ended.Load() != (tt.after == "close") {
					t.Errorf("the stream of the configuration has ended: %v", own.ended.Load())
				}
				for _, s := range []*stream{s, own} {
					s.cancel()
					s.conn.Close()
				}
				synctest.Wait()
				if tt.after == "close" {
					tt.closed++
				}
				expectFree(t, member(t, "a:1"), tt.closed)
			})
			lbtest.NoLeaks(t)
		})
	}
}

// Whatever ends a stream first, its slot is released once, and its outcome is counted once.
func TestOnDownBesideOtherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		p := load(t, nil, streamingProxy(`,"on_down":"close","max_requests":1000,"guard":false,`+check(t, "")))
		seconds(0.1)
		b := member(t, "a:1")
		const rounds, n = 20, 20
		for range rounds {
			var all []*stream
			for i := range n {
				all = append(all, start(t, p, "/events", i%2 == 0))
			}
			synctest.Wait()
			go func() {
				for _, s := range all {
					s.cancel()
				}
			}()
			alter(t, "a:1", admin(health.Maint))
			synctest.Wait()
			for _, s := range all {
				if !s.ended.Load() {
					t.Fatal("a stream goes on")
				}
				s.conn.Close()
			}
			totals := b.Totals()
			if b.Taken() != 0 || totals.InFlight != 0 {
				t.Fatalf("%d slots are taken, %d in flight", b.Taken(), totals.InFlight)
			}
			alter(t, "a:1", admin(health.Ready))
		}
		totals := b.Totals()
		if sum := totals.Responses[1] + totals.Responses[2]; sum != rounds*n || totals.Requests != rounds*n {
			t.Errorf("%d responses to %d requests, want %d", sum, totals.Requests, rounds*n)
		}
		if ends := totals.ClientGone + totals.Failures[outlier.Closed]; ends > rounds*n {
			t.Errorf("%d ends of %d streams", ends, rounds*n)
		}
	})
	lbtest.NoLeaks(t)
}
