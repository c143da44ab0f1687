// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
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
			b := backendtest.Ejectable(address)
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
