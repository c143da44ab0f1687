// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// serve runs a backend on connections until the test ends.
func serve(t *testing.T, handle func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// header reads until the header of a request is over.
func header(conn net.Conn) {
	for read, b := "", make([]byte, 1); !strings.HasSuffix(read, "\r\n\r\n"); read += string(b) {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

// judged returns a backend in a pool that ejects for one error.
func judged(address string) *backend.Backend {
	b := backend.New("web", backend.Endpoint{Address: address, Settings: backend.Settings{ID: "a", Weight: new(1)}}, backend.NewState(), nil, nil)
	other := backend.New("web", backend.Endpoint{Address: "127.0.0.1:1", Settings: backend.Settings{ID: "b", Weight: new(1)}}, backend.NewState(), nil, nil)
	rules := &outlier.Rules{ConsecutiveErrors: 1, EjectFor: time.Minute, MaxEjectFor: time.Minute, MaxEjected: 1, Stall: time.Second}
	rules.ErrorStatus[http.StatusServiceUnavailable] = true
	p := pool.NewPool("web")
	p.SetOptions(pool.Options{Outliers: rules})
	p.SetMembers(pool.NewMembers([]*backend.Backend{b, other}))
	return b
}

// What any client can make happen to any backend is no error of the backend, and what
// it cannot is one.
func TestWhatClientsCanCauseIsNoError(t *testing.T) {
	post := func(body io.Reader, length int64) func() *http.Request {
		return func() *http.Request {
			req := httptest.NewRequest(http.MethodPost, "http://x/", body)
			req.ContentLength = length
			return req
		}
	}
	get := func() *http.Request { return httptest.NewRequest(http.MethodGet, "http://x/", nil) }
	refuses := func(conn net.Conn) {
		header(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
	}
	closes := func(conn net.Conn) { header(conn) }
	reads := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for name, c := range map[string]struct {
		backend func(net.Conn)
		request func() *http.Request
		proxy   string
		want    outlier.Failure
	}{
		"a body that is refused and not read":  {refuses, post(io.LimitReader(zeros{}, 5<<20), 5<<20), "", outlier.NoFailure},
		"a chunked body that is refused":       {refuses, post(io.LimitReader(zeros{}, 5<<20), -1), "", outlier.NoFailure},
		"a large body that is cut off":         {closes, post(io.LimitReader(zeros{}, 5<<20), 5<<20), "", outlier.Unsent},
		"a body of which most is missing":      {closes, post(strings.NewReader("a"), 10), "", outlier.Unsent},
		"a small request that is not answered": {closes, post(strings.NewReader("a"), 1), "", outlier.Reset},
		"a request without a body, likewise":   {closes, get, "", outlier.Reset},
		"a small request that takes too long":  {reads, post(strings.NewReader("a"), 1), `,"response_header_timeout":"50ms"`, outlier.Timeout},
		"a field that cannot be sent":          {refuses, func() *http.Request { r := get(); r.Header.Set("X-A", "a\nb"); return r }, "", outlier.Unsent},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, c.backend)
			p := lbtest.NewProxy(t, fmt.Sprintf(`{"transport":{"protocol":"http"%s},
				"load_balancing":{"selection_policy":{"policy":"attachtest"}},"upstreams":[{"dial":%q}]}`, c.proxy, address), nil)
			b := judged(address)
			policyOf(p).backends[address] = b
			func() {
				defer func() { _ = recover() }() // Caddy panics where a response breaks off
				_, _ = p.Do(c.request())
			}()
			counts := b.Totals().Failures
			if c.want == outlier.NoFailure {
				// The transport may see first that its write fails.
				counts[outlier.Unsent] = 0
			} else {
				counts[c.want]--
			}
			for failure, n := range counts {
				if n != 0 {
					t.Errorf("%v: %d more than expected", failure, n)
				}
			}
			blamed := c.want == outlier.Reset || c.want == outlier.Timeout
			if got := b.EjectionState() != outlier.Healthy; got != blamed {
				t.Errorf("ejected: %v, want %v", got, blamed)
			}
		})
	}
}

// A backend that gives a response so much time breaks it off where the client is slow
// to read it: for a second at least, and a quarter of the time.
func TestClientThatDoesNotReadIsNoError(t *testing.T) {
	for name, c := range map[string]struct {
		backend, client time.Duration // how long each takes for its half
		want            outlier.Failure
	}{
		"a client that reads on":              {0, 0, outlier.Reset},
		"one that takes its time":             {0, 900 * time.Millisecond, outlier.Reset},
		"one that does not read for a second": {0, time.Second, outlier.Unread},
		"in a long response":                  {time.Minute, 10 * time.Second, outlier.Reset},
		"for most of a long response":         {10 * time.Second, time.Minute, outlier.Unread},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := judged("a:1")
				f := flightOf(b)
				f.attempt.Start = clock.Now()
				b.Begin(&f.attempt)
				body := io.MultiReader(strings.NewReader("half"), &later{c.backend, io.ErrUnexpectedEOF})
				res := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}
				f.wrapBody(res)
				part := make([]byte, 4)
				if _, err := res.Body.Read(part); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.client)
				if _, err := res.Body.Read(part); err == nil {
					t.Fatal("the response does not break off")
				}
				if n := b.Totals().Failures[c.want]; n != 1 {
					t.Errorf("got %v, want %v", b.Totals().Failures, c.want)
				}
				if got := b.EjectionState() != outlier.Healthy; got != (c.want == outlier.Reset) {
					t.Errorf("ejected: %v", got)
				}
			})
		})
	}
}

// later ends a body, so late.
type later struct {
	after time.Duration
	err   error
}

func (l *later) Read([]byte) (int, error) {
	time.Sleep(l.after)
	return 0, l.err
}

// A backend, or the transport, that gives a request so much time ends it where the
// client is slow to send it, though by then all of it may have come.
func TestClientThatSendsSlowlyIsNoError(t *testing.T) {
	reset, timeout := io.ErrUnexpectedEOF, context.DeadlineExceeded
	for name, c := range map[string]struct {
		client, backend time.Duration
		err             error
		want            bool
	}{
		"a request that comes at once":       {0, time.Minute, timeout, false},
		"a pause before the body":            {900 * time.Millisecond, 0, reset, false},
		"a pause that a backend may end":     {time.Second, 0, reset, true},
		"one that the transport may end":     {time.Second, 0, timeout, true},
		"a backend that takes much longer":   {time.Second, time.Minute, timeout, false},
		"a client that takes nearly as long": {50 * time.Second, time.Minute, timeout, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req := httptest.NewRequest(http.MethodPost, "http://x/", io.MultiReader(&later{c.client, io.EOF}, strings.NewReader("body")))
				req.ContentLength = 4
				_, u := watchUpload(req, nil)
				start := clock.Now()
				if body, err := io.ReadAll(u); err != nil || string(body) != "body" {
					t.Fatal(string(body), err)
				}
				time.Sleep(c.backend)
				if got := u.exempts(c.err, clock.Now()-start); got != c.want {
					t.Errorf("excused: %v, want %v", got, c.want)
				}
			})
		})
	}
}
