// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Whatever backends and clients do on real connections, nothing is shared that
// somebody writes to, which the race detector sees, and all is counted as ended.
func TestStress(t *testing.T) {
	var addresses []string
	for range 3 {
		server := httptest.NewServer(http.HandlerFunc(unruly))
		defer server.Close()
		addresses = append(addresses, fmt.Sprintf(`{"dial":%q}`, strings.TrimPrefix(server.URL, "http://")))
	}
	apps := caddy.ModuleMap{"ballast": []byte(`{"pools":{"stress":{"outliers":{"off":true},"backends":[` + strings.Join(addresses, ",") + `]}}}`)}
	const rules = `"pool":"stress","transport":{"protocol":"http"},"backoff":{"base":"1ms","max":"2ms"},"timeout":"5s","retries":2,"max_requests":1000,`
	for _, options := range []string{`"quorum":"majority"`, `"quorum":"1","detach":true`, `"quorum":"1"`, `"expect":["2xx","101","5xx"]`, `"respond":"summary"`} {
		s := newSite(t, nil, apps, rules+options)
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var herr caddyhttp.HandlerError
			if err := s.ServeHTTP(w, lbtest.Prepare(r, caddy.NewReplacer(), w), nil); errors.As(err, &herr) {
				w.WriteHeader(herr.StatusCode)
			}
		}))
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range 10 {
					unrulyClient(t, front.URL)
				}
			})
		}
		clients.Wait()
		front.Close()
		// Until the tests' own time is over.
		for s.metric(t, "requests_in_flight")+s.metric(t, "body_bytes") > 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		for _, b := range pool.Current("stress").View().Members.All {
			for b.InUse() || b.Totals().InFlight > 0 {
				runtime.Gosched()
			}
		}
		s.Close()
	}
}

// unruly answers in all the ways there are.
func unruly(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	long := strings.Repeat("x", rand.IntN(200_000))
	w.Header().Set("Keep-Alive", "timeout=5")
	w.Header().Set("X-Hop", "1")
	w.Header().Set("Connection", "X-Hop")
	if rand.IntN(2) == 0 {
		w.Header().Set("Content-Type", "application/grpc")
	}
	if rand.IntN(2) == 0 {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	if rand.IntN(4) == 0 {
		w.Header().Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	switch rand.IntN(9) {
	case 0: // a trailer that is announced, and one that is not
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, long)
		w.Header().Set("Grpc-Status", "14")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
	case 1: // after a body that is there at once
		w.Header().Set("Trailer", "Grpc-Status")
		_ = rc.Flush()
		w.Header().Set("Grpc-Status", "0")
	case 2:
		_, _ = io.WriteString(w, long)
	case 3: // in pieces
		for range rand.IntN(20) {
			_, _ = io.WriteString(w, "piece")
			_ = rc.Flush()
		}
	case 4:
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, long)
	case 5: // breaks off before the header, or in the middle
		if rand.IntN(2) == 0 {
			_, _ = io.WriteString(w, long)
			_ = rc.Flush()
		}
		panic(http.ErrAbortHandler)
	case 6: // switches to what nobody has asked for
		conn, _, err := rc.Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
			_ = conn.Close()
		}
	case 7:
		w.WriteHeader(http.StatusNoContent)
	case 8: // is silent until it is given up, or says something after all
		for range rand.IntN(1000) {
			runtime.Gosched()
		}
	}
}

// unrulyClient reads all of an answer, or some, slowly, or leaves.
func unrulyClient(t *testing.T, url string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var body io.Reader
	switch rand.IntN(3) {
	case 0:
		body = strings.NewReader(strings.Repeat("b", rand.IntN(50_000)))
	case 1: // in chunks
		body = struct{ io.Reader }{strings.NewReader(strings.Repeat("c", rand.IntN(50_000)))}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		t.Error(err)
		return
	}
	if rand.IntN(4) == 0 {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "x")
	}
	if body != nil && rand.IntN(4) == 0 {
		req.Trailer = http.Header{"X-Client": {"1"}}
	}
	if rand.IntN(5) == 0 {
		go func() {
			for range rand.IntN(2000) {
				runtime.Gosched()
			}
			cancel()
		}()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // it has left, or the response is incomplete
	}
	defer res.Body.Close()
	if rand.IntN(3) == 0 {
		_, _ = io.CopyN(io.Discard, res.Body, int64(rand.IntN(100_000)))
		return
	}
	for buf := make([]byte, 1+rand.IntN(10_000)); err == nil; {
		_, err = res.Body.Read(buf)
	}
}
