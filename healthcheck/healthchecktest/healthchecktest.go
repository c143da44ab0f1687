// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package healthchecktest is the conformance suite of health checks. The checks of Ballast pass it,
// and checks of other repositories should: a probe that hangs, leaks or panics affects all backends
// of a pool.
//
//	func TestConformance(t *testing.T) {
//		healthchecktest.Run(t, healthchecktest.Check{Caddyfile: "redis", Serve: redis})
//	}
package healthchecktest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/conformance"
)

// Check is a health check under test. Its module must be registered.
type Check struct {
	// Caddyfile is the text after `health` in a pool: the name of the check, its arguments, and a
	// block with all of its own options. Required.
	Caddyfile string
	// Serve serves one connection of a healthy backend, and returns after the last answer or when
	// reading fails; then the connection is closed. It may be called concurrently. Required.
	Serve func(conn net.Conn)
	// Unhealthy is Serve for a backend that answers but must fail the check. Default: none, for a
	// check that only connects.
	Unhealthy func(conn net.Conn)
}

// probeTime is the timeout of probes that are expected to end with it.
const probeTime = 40 * time.Millisecond

// hangTimeout is the time after which other operations are taken to hang.
var hangTimeout = 10 * time.Second

// Run tests the configuration of the check, its results, that a probe ends with its context at
// whatever stage the backend stops answering, and that it leaks no goroutine and no connection. Run
// it with the race detector, and not in parallel with other tests.
func Run(t *testing.T, c Check) {
	m := conformance.Module{Namespace: healthcheck.Namespace, Caddyfile: c.Caddyfile}
	m.Run(t)
	t.Run("options of every check", func(t *testing.T) { options(t, m) })
	check, cleanUp := m.Load(t, c.Caddyfile)
	h, ok := check.(healthcheck.Check)
	if !ok {
		t.Fatalf("%T is no healthcheck.Check", check)
	}
	leaks := conformance.Goroutines(t)
	t.Run("defaults", func(t *testing.T) { defaults(t, m, h) })
	t.Run("results", func(t *testing.T) { results(t, c, h) })
	t.Run("concurrent use", func(t *testing.T) { concurrent(t, c, h) })
	t.Run("a backend that stops answering", func(t *testing.T) { stops(t, c, h) })
	t.Run("a probe that is canceled", func(t *testing.T) { canceled(t, c, h) })
	leaks(hangTimeout)
	cleanUp()
}

// options tests that the check has the options of every check, except for those that an agent
// cannot have.
func options(t *testing.T, m conformance.Module) {
	mod, err := m.Parse(t, m.With("", "interval 3s\n timeout 2s\n down_interval 4s\n edge_interval 1s\n jitter 5%"))
	if err != nil {
		t.Fatalf("%v; add your options to those of Options of the embedded healthcheck.Schedule", err)
	}
	if s := mod.(healthcheck.Check).Timing(); time.Duration(s.Interval) != 3*time.Second || time.Duration(s.Timeout) != 2*time.Second || s.Jitter == nil || *s.Jitter != 0.05 {
		t.Errorf("parsed to %+v", *s)
	}
	for _, bad := range []string{"interval 0", "interval", "timeout 1s 2s", "timeout -1s", "jitter 200%", "interval 1s\n interval 1s", "port 70000"} {
		m.Refuses(t, m.With("", bad))
	}
}

// defaults tests that a check without options has the defaults of every check.
func defaults(t *testing.T, m conformance.Module, h healthcheck.Check) {
	s := h.Timing()
	if s.Interval <= 0 || s.Timeout <= 0 || s.DownInterval <= 0 || s.EdgeInterval <= 0 || s.Passes < 1 || s.Fails < 1 || s.Jitter == nil || s.Initial == "" {
		t.Errorf("defaults are missing in %+v; Provision must call that of the embedded healthcheck.Schedule", *s)
	}
	other, _ := m.Load(t, m.Caddyfile)
	if other.(healthcheck.Check).Timing() == s {
		t.Error("two checks share one schedule")
	}
}

// results tests that a healthy backend passes, and others do not.
func results(t *testing.T, c Check, h healthcheck.Check) {
	healthy := listen(t, behaviour{serve: c.Serve, after: -1})
	for range 3 {
		if err := probe(t, h, healthy.target, hangTimeout); err != nil {
			t.Errorf("a healthy backend: %v", err)
		}
	}
	healthy.expectClosed(t)
	if c.Unhealthy != nil {
		unhealthy := listen(t, behaviour{serve: c.Unhealthy, after: -1})
		if err := probe(t, h, unhealthy.target, hangTimeout); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an unhealthy backend that answers: %v", err)
		}
		unhealthy.expectClosed(t)
	}
	refusing := listen(t, behaviour{serve: c.Serve})
	refusing.listener.Close()
	if err := probe(t, h, refusing.target, hangTimeout); err == nil {
		t.Error("the probe of a port without a listener passed")
	}
}

// concurrent tests that concurrent probes have the same results as sequential ones.
func concurrent(t *testing.T, c Check, h healthcheck.Check) {
	one, other := listen(t, behaviour{serve: c.Serve, after: -1}), listen(t, behaviour{serve: c.Serve, after: -1})
	var wg sync.WaitGroup
	for i := range 16 {
		target := one.target
		if i%2 == 0 {
			target = other.target
		}
		wg.Go(func() {
			for range 10 {
				if err := probe(t, h, target, hangTimeout); err != nil {
					t.Errorf("a healthy backend: %v", err)
				}
			}
		})
	}
	wg.Wait()
	one.expectClosed(t)
	other.expectClosed(t)
}

// stops probes backends that stop answering, or close the connection, after 0, 1, 2, 3, 5, 8, ...
// bytes of a healthy answer. The probe may pass or fail, but must end.
func stops(t *testing.T, c Check, h healthcheck.Check) {
	healthy := listen(t, behaviour{serve: c.Serve, after: -1})
	_ = probe(t, h, healthy.target, hangTimeout)
	healthy.expectClosed(t)
	for after, next := 0, 1; after <= int(healthy.sent.Load()); after, next = next, after+next {
		for _, closes := range []bool{false, true} {
			s := listen(t, behaviour{serve: c.Serve, after: after, closes: closes})
			_ = probe(t, h, s.target, probeTime)
			s.expectClosed(t)
			s.listener.Close()
		}
	}
}

// canceled tests that a probe ends when its context is canceled, before or during the probe.
func canceled(t *testing.T, c Check, h healthcheck.Check) {
	ctx, cancel := context.WithCancel(context.Background())
	s := listen(t, behaviour{serve: c.Serve, accepted: cancel})
	_ = within(t, h, ctx, s.target) // accepting the connection cancels ctx
	if err := within(t, h, ctx, s.target); err == nil {
		t.Error("a probe passed after its context had ended")
	}
	s.expectClosed(t)
}

// probe probes once, as a pool does.
func probe(t *testing.T, h healthcheck.Check, target healthcheck.Target, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return within(t, h, ctx, target)
}

// within probes once, and fails the test if the probe does not return when ctx ends.
func within(t *testing.T, h healthcheck.Check, ctx context.Context, target healthcheck.Target) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- h.Probe(ctx, target) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(hangTimeout):
		t.Error("the probe does not end with its context")
		return ctx.Err()
	}
}

// server is a backend.
type server struct {
	behaviour
	listener net.Listener
	target   healthcheck.Target
	open     atomic.Int32 // open connections
	sent     atomic.Int64 // bytes that Serve has written on the latest connection, sent or not
}

// behaviour is the behaviour of a server. Read-only.
type behaviour struct {
	serve    func(net.Conn)
	after    int    // bytes that it sends on a connection before it stops; below 0 for all
	closes   bool   // it then closes the connection, instead of keeping it open silently
	accepted func() // called for each connection; nil for nothing
}

// listen starts a server that ends with the test.
func listen(t *testing.T, b behaviour) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, target: healthcheck.NewTarget(l.Addr().String(), "", 0), behaviour: b}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.open.Add(1)
			s.sent.Store(0)
			if s.accepted != nil {
				s.accepted()
			}
			go s.talk(conn)
		}
	}()
	return s
}

// talk serves a connection until the check closes it.
func (s *server) talk(conn net.Conn) {
	defer s.open.Add(-1)
	defer conn.Close()
	s.serve(&stoppingConn{Conn: conn, server: s, left: s.after})
	if s.after >= 0 && !s.closes {
		_, _ = io.Copy(io.Discard, conn)
	}
}

// expectClosed tests that the check closes its connections.
func (s *server) expectClosed(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(hangTimeout); s.open.Load() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left open after the probe", s.open.Load())
		}
	}
}

// stoppingConn sends a number of bytes, and discards the rest.
type stoppingConn struct {
	net.Conn
	server *server
	left   int // bytes still to send; below 0 for all
}

// Write implements [net.Conn].
func (c *stoppingConn) Write(p []byte) (int, error) {
	c.server.sent.Add(int64(len(p)))
	if c.left < 0 {
		return c.Conn.Write(p)
	}
	n := min(len(p), c.left)
	c.left -= n
	if n > 0 {
		if n, err := c.Conn.Write(p[:n]); err != nil {
			return n, err
		}
	}
	if n < len(p) && c.server.closes {
		c.Conn.Close()
		return n, io.ErrClosedPipe
	}
	return len(p), nil
}
