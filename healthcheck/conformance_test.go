// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/healthcheck/healthchecktest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(bare)) }

// bare is a check of another repository, with the options of Schedule only.
type bare struct{ healthcheck.Schedule }

func (*bare) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.bare", New: func() caddy.Module { return new(bare) }}
}

func (*bare) Probe(ctx context.Context, t healthcheck.Target) error {
	conn, err := t.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// httpServer answers one request.
func httpServer(status string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwell\n")
		}
	}
}

// grpcServer answers as the health service, with a status.
func grpcServer(status byte) func(net.Conn) {
	return func(c net.Conn) {
		server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, status})
			w.Header().Set("Grpc-Status", "0")
		})}
		server.Protocols.SetUnencryptedHTTP2(true)
		_ = server.Serve(&oneConn{Conn: c, closed: make(chan struct{})})
	}
}

// oneConn is a listener that accepts one connection, and is closed when that is closed.
type oneConn struct {
	net.Conn
	accepted bool
	once     sync.Once
	closed   chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.accepted {
		l.accepted = true
		return l, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return l.LocalAddr() }

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

func TestConformance(t *testing.T) {
	checks := map[string]healthchecktest.Check{
		"bare": {Caddyfile: "bare", Serve: says("well\n"), Unhealthy: says("ill")},
		"http": {Caddyfile: "http /health {\n expect_body well\n}", Serve: httpServer("200 OK"), Unhealthy: httpServer("503 Service Unavailable")},
		"tcp": {Caddyfile: "tcp {\n send \"PING\\r\\n\"\n expect +PONG\n}", Serve: func(c net.Conn) {
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				_, _ = io.WriteString(c, "+PONG\r\n")
			}
		}, Unhealthy: says("-LOADING\r\n")},
		"grpc":  {Caddyfile: "grpc shop", Serve: grpcServer(1), Unhealthy: grpcServer(2)},
		"agent": {Caddyfile: "agent 1", Serve: says("up 75%\n"), Unhealthy: says("nonsense\n")},
	}
	for _, name := range lbtest.Modules("ballast.checks") {
		if _, ok := checks[name]; !ok {
			t.Errorf("check %s is not tested", name)
		}
	}
	for name, c := range checks {
		t.Run(name, func(t *testing.T) { healthchecktest.Run(t, c) })
	}
}
