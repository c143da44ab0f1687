// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() {
	caddy.RegisterModule(new(metered))
	caddy.RegisterModule(new(panicky))
	caddy.RegisterModule(new(listed))
}

// meter counts, as a backend would, the requests that each backend is working on.
type meter struct {
	mu        sync.Mutex
	now, peak map[string]int
	sent      int
	over      []string // what was more than it may be
	// limit returns the most that a backend may have.
	limit func(address string) int
	// uses are the configurations that run, and their requests, by limit.
	uses map[int]int
}

// use has a limit count until the function that it returns is called.
func (m *meter) use(limit int) (done func()) {
	count := func(n int) { m.mu.Lock(); defer m.mu.Unlock(); m.uses[limit] += n }
	count(1)
	return func() { count(-1) }
}

// largest is the limit of a meter: the largest of those that count.
func (m *meter) largest(string) (most int) {
	for limit, n := range m.uses {
		if n > 0 {
			most = max(most, limit)
		}
	}
	return most
}

var meters sync.Map // by test

func newMeter(t *testing.T) *meter {
	m := &meter{now: make(map[string]int), peak: make(map[string]int), uses: make(map[int]int)}
	m.limit = m.largest
	meters.Store(t.Name(), m)
	return m
}

// enter counts a request that has come to a backend, and leave one that is gone. The
// limit of its configuration counts as long.
func (m *meter) enter(address string, limit int) (leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uses[limit]++
	m.sent++
	m.now[address]++
	m.peak[address] = max(m.peak[address], m.now[address])
	if limit := m.limit(address); m.now[address] > limit {
		m.over = append(m.over, fmt.Sprintf("%s has %d, and its limit is %d", address, m.now[address], limit))
	}
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.now[address]--
		m.uses[limit]--
	})
}

// metered is a transport to backends with a meter. The request says how it fares.
type metered struct {
	Meter string `json:"meter"`
}

func (*metered) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.metered", New: func() caddy.Module { return new(metered) }}
}

// fare is how a request fares.
type fare struct {
	header, body time.Duration // until the header, and from then on
	fails        string        // "refused" or "reset", in the first attempt
	upgrade      bool
	panics       string // where the handler does: "header", "body", "route"
	client       time.Duration
	attempts     int
	limit        int    // of its configuration
	arrived      func() // is called when it comes to a backend, if set
	listed       func() // is called by a policy listed
}

type fareKey struct{}

func (tr *metered) RoundTrip(req *http.Request) (*http.Response, error) {
	v, _ := meters.Load(tr.Meter)
	m := v.(*meter)
	info, _ := reverseproxy.GetDialInfo(req.Context())
	f := req.Context().Value(fareKey{}).(*fare)
	leave := m.enter(info.Address, f.limit)
	if f.attempts++; f.arrived != nil {
		f.arrived()
	}
	if lbtest.Wait(req.Context(), f.header); req.Context().Err() != nil {
		leave()
		return nil, req.Context().Err()
	}
	if f.attempts == 1 && f.fails != "" {
		leave()
		if f.fails == "refused" {
			return nil, reverseproxy.NewDialError(errors.New("connection refused"))
		}
		return nil, io.ErrUnexpectedEOF
	}
	// With a length: without, Caddy sets a timer for now, on which Go 1.26's race
	// detector has crashed in a bubble.
	res := &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"X-Upstream": {info.Address}}, ContentLength: 1,
	}
	switch b := (&meteredBody{ctx: req.Context(), leave: leave, left: f.body, closed: make(chan struct{})}); {
	case f.upgrade:
		res.StatusCode, res.Body = http.StatusSwitchingProtocols, meteredConn{b}
		res.Header.Set("Connection", "Upgrade")
		res.Header.Set("Upgrade", "test")
	case f.body == 0:
		leave()
		res.Body = http.NoBody
	default:
		res.Body = b
	}
	return res, nil
}

// meteredBody takes some time. The backend is rid of it at its end, or when it is
// closed.
type meteredBody struct {
	ctx    context.Context
	leave  func()
	left   time.Duration
	once   sync.Once
	closed chan struct{}
}

func (b *meteredBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.leave()
		return 0, io.EOF
	}
	step := min(b.left, 5*time.Millisecond)
	select {
	case <-time.After(step):
		b.left -= step
		return copy(p, "x"), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-b.closed:
		return 0, net.ErrClosed
	}
}

func (b *meteredBody) Close() error {
	b.once.Do(func() { b.leave(); close(b.closed) })
	return nil
}

type meteredConn struct{ *meteredBody }

func (c meteredConn) Write(p []byte) (int, error) { return len(p), nil }

// panicky is a handler that panics if the request says so.
type panicky struct{}

func (*panicky) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.panicky", New: func() caddy.Module { return new(panicky) }}
}

func (*panicky) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if f, _ := r.Context().Value(fareKey{}).(*fare); f != nil && f.panics == "route" {
		panic("in a route")
	}
	return next.ServeHTTP(w, r)
}

// listed is a policy that picks the first of its list, when the request lets it.
type listed struct{}

func (*listed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.selection_policies.listed", New: func() caddy.Module { return new(listed) }}
}

func (*listed) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	r.Context().Value(fareKey{}).(*fare).listed()
	if len(pool) == 0 {
		return nil
	}
	return pool[0]
}

// clientWriter is what a client is to a handler: it may be hijacked, and panic.
type clientWriter struct {
	*httptest.ResponseRecorder
	panics string
	conn   net.Conn
}

func (w *clientWriter) WriteHeader(status int) {
	if w.panics == "header" {
		panic("at the header")
	}
	w.ResponseRecorder.WriteHeader(status)
}

func (w *clientWriter) Write(p []byte) (int, error) {
	if w.panics == "body" {
		panic("in the body")
	}
	return w.ResponseRecorder.Write(p)
}

func (w *clientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// request sends one as Caddy's server does: a panic ends it, and its context ends
// when the handler has returned.
func request(p *lbtest.Proxy, f *fare, path string) (w *clientWriter, repl *caddy.Replacer, err error) {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), fareKey{}, f))
	defer cancel()
	if f.client > 0 {
		time.AfterFunc(f.client, cancel)
	}
	w, repl = &clientWriter{ResponseRecorder: httptest.NewRecorder(), panics: f.panics}, caddy.NewReplacer()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x"+path, nil)
	if f.upgrade {
		var client net.Conn
		client, w.conn = net.Pipe()
		defer client.Close()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	err = p.ServeHTTP(w, lbtest.Prepare(r, repl, w), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	return w, repl, err
}

// expectNothingTaken checks that no slot of a pool is taken and nobody waits.
func expectNothingTaken(t *testing.T, name string) {
	t.Helper()
	p := pool.Current(name)
	for _, b := range p.View().Members.All {
		if n := b.Totals().InFlight; b.Taken() != 0 || n != 0 {
			t.Errorf("at the end, %s has %d slots taken and %d in flight", b.ID, b.Taken(), n)
		}
	}
	if r := p.Totals(); r.Waiting != 0 || r.Waits != r.Queued || p.InFlight() != 0 {
		t.Errorf("at the end, %d wait, %d of %d waits have ended, %d are in flight", r.Waiting, r.Waits, r.Queued, p.InFlight())
	}
}
