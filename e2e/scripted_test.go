// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a backend in the test's own process: it answers requests and
// probes, which are those of /health, as the test says, and counts them.
type scripted struct {
	t        testing.TB
	address  string
	tls      *tls.Config // nil for none
	serve    atomic.Value
	health   atomic.Value
	requests atomic.Int64
	probes   atomic.Int64
	server   *http.Server
	listener net.Listener
}

// startScripted starts a healthy backend that ends with the test.
func startScripted(t testing.TB, address string, config *tls.Config) *scripted {
	t.Helper()
	b := &scripted{t: t, address: address, tls: config}
	b.serves(b.name)
	b.probed(answer(http.StatusOK))
	b.start()
	t.Cleanup(b.stop)
	return b
}

// startThree starts three of them, and returns their addresses for a Caddyfile.
func startThree(t testing.TB) (all [3]*scripted, to string) {
	t.Helper()
	for i := range all {
		all[i] = startScripted(t, freeAddress(t), nil)
		to += " " + all[i].address
	}
	return all, to
}

// serves sets how requests are answered from now on, and probed how probes are.
func (b *scripted) serves(h http.HandlerFunc) { b.serve.Store(h) }
func (b *scripted) probed(h http.HandlerFunc) { b.health.Store(h) }

// ServeHTTP implements [http.Handler].
func (b *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	how, n := &b.serve, &b.requests
	if r.URL.Path == "/health" {
		how, n = &b.health, &b.probes
	}
	n.Add(1)
	how.Load().(http.HandlerFunc)(w, r)
}

// start has it listen, again after stop.
func (b *scripted) start() {
	b.t.Helper()
	var l net.Listener
	eventually(b.t, "it listens", func() bool { // a process that just starts may hold the earlier listener
		var err error
		l, err = net.Listen("tcp", b.address)
		return err == nil
	})
	if b.tls != nil {
		l = tls.NewListener(l, b.tls)
	}
	b.server, b.listener = &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0)}, l
	go b.server.Serve(l)
}

// stop ends all connections, and has new ones be refused.
func (b *scripted) stop() {
	b.listener.Close() // the server may not know it yet
	b.server.Close()
}

// name is the answer of a backend that works.
func (b *scripted) name(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Backend", b.address)
	io.WriteString(w, b.address)
}

// later holds each request for some time before that.
func (b *scripted) later(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			b.name(w, r)
		case <-r.Context().Done():
		}
	}
}

// sometimes answers 3 of 10 requests with a 503.
func (b *scripted) sometimes(w http.ResponseWriter, r *http.Request) {
	if b.requests.Load()%10 < 3 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	b.name(w, r)
}

// answer answers with a status alone.
func answer(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// answerAfter answers once a channel is closed.
func answerAfter(gate <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			w.WriteHeader(http.StatusOK)
		case <-r.Context().Done():
		}
	}
}

// never answers nothing until the client goes away.
func never(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// headerAlone sends no byte of the body that the header promises.
func headerAlone(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush()
	never(w, r)
}

// reset ends the connection in the middle of the header.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Backend: 127.")
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// poolSite is a site on a port, with options of its pool, which is called web,
// and of its proxy.
func poolSite(port int, pool, proxy string) string {
	return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web {\n%s\n}\nlb_policy wrr\n%s\n}\n}", port, pool, proxy)
}

// check is a health check with the schedule of these tests, and with more. Its
// timeout is long, lest a busy machine fail healthy backends.
func check(what, more string) string {
	return fmt.Sprintf("health %s {\ninterval 300ms\ntimeout 5s\n%s\n}\n", what, more)
}

const (
	// twice is how many probes in a row decide.
	twice = "fails 2\npasses 2\n"
	// brief has ejections be over soon after what led to them.
	brief = "outliers {\neject_for 1s\n}\n"
)
