// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// real loads a proxy with an inline pool of real servers, which have the given
// handlers.
func real(t *testing.T, loadBalancing string, handlers ...http.HandlerFunc) (p *lbtest.Proxy, members []*backend.Backend) {
	var addresses []string
	for _, h := range handlers {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		addresses = append(addresses, server.Listener.Addr().String())
	}
	p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"load_balancing":{"selection_policy":{"policy":"first"}%s},
		"dynamic_upstreams":{"source":"pool",%s}}`, loadBalancing, dials(addresses...)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		members = append(members, pool.Pools()[0].Find(a))
	}
	return p, members
}

// post sends a request with a body of so many bytes.
func post(p *lbtest.Proxy, bytesOf int) {
	defer func() { _ = recover() }() // Caddy panics where a response breaks off
	_, _ = p.Do(httptest.NewRequest(http.MethodPost, "http://x/", bytes.NewReader(make([]byte, bytesOf))))
}

// One of five answers 503, which is retried. The body is spent by then, and no retry
// can be sent whole: only the one that answers 503 is to blame.
func TestRetryWithASpentBodyEjectsNobody(t *testing.T) {
	ok := func(http.ResponseWriter, *http.Request) {}
	p, members := real(t, `,"retries":1,"retry_match":[{"method":["POST"],"expression":"{http.reverse_proxy.status_code} == 503"}]`,
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, ok, ok, ok, ok)
	for range 40 {
		post(p, 10)
	}
	for i, b := range members {
		if got := b.Ejections(); got != map[int]int64{0: 1}[i] {
			t.Errorf("backend %d: %d ejections, %v", i, got, b.Totals().Failures)
		}
	}
}

// Anybody can send what is too large. A backend that says so, and closes, breaks the
// upload off, and often its own answer with it.
func TestUploadsThatAreTooLargeEjectNobody(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
	hangUp := func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	for i, handler := range []http.HandlerFunc{refuse, hangUp} {
		p, members := real(t, "", handler, handler)
		for range 12 {
			post(p, 5<<20)
		}
		for _, b := range members {
			if b.Ejections() > 0 {
				t.Errorf("backend %d is ejected: %v", i, b.Totals().Failures)
			}
		}
		p.Close()
	}
}
