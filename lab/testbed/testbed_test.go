// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/network"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func get(ctx context.Context, s *server, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	return w
}

// A server with workers serves as many requests concurrently, and counts waiting ones as in flight.
func TestServerWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newServer(ServerConfig{Workers: 10, Delay: time.Millisecond, Behavior: Behavior{Wait: 49 * time.Millisecond}}), time.Now()
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() { get(t.Context(), s, "/") })
		}
		all.Wait()
		if c := s.counts(); time.Since(began) != 200*time.Millisecond || c != (Counts{40, 40, 0, 40}) {
			t.Errorf("took %v: %+v", time.Since(began), c)
		}
		if c := s.counts(); c.Peak != 0 {
			t.Errorf("the peak is %d after it was read", c.Peak)
		}
	})
}

// A hung server answers its health checks, unless they hang too.
func TestServerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(ServerConfig{Name: "a", Behavior: Behavior{Hang: true}})
		waited := func(path string) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			get(ctx, s, path)
			return time.Since(began)
		}
		if r, h := waited("/"), waited("/health"); r != time.Minute || h != 0 {
			t.Errorf("a request waits for %v, a check for %v", r, h)
		}
		s.behavior.Store(&Behavior{Hang: true, HangChecks: true})
		if h := waited("/health"); h != time.Minute {
			t.Errorf("a check waits for %v", h)
		}
		if c := s.counts(); c.Requests != 1 || c.Answered != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// Stragglers wait for StragglerWait, and other requests for Wait.
func TestServerStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for share, want := range map[float64]time.Duration{0: 10 * time.Millisecond, 1: time.Second} {
			began := time.Now()
			get(t.Context(), newServer(ServerConfig{Behavior: Behavior{Wait: 10 * time.Millisecond, Stragglers: share, StragglerWait: time.Second}}), "/")
			if took := time.Since(began); took != want {
				t.Errorf("with %v stragglers a request takes %v, want %v", share, took, want)
			}
		}
	})
}

func TestServerErrors(t *testing.T) {
	for share, want := range map[float64]int{0: http.StatusOK, 1: http.StatusInternalServerError} {
		w := get(t.Context(), newServer(ServerConfig{Name: "a", Behavior: Behavior{Errors: share}}), "/")
		if w.Code != want || w.Header().Get("X-Backend") != "a" {
			t.Errorf("with %v errors the status is %d of %q", share, w.Code, w.Header().Get("X-Backend"))
		}
	}
}

// A backend on a host answers clients on other hosts, changes its behavior, and can be restarted
// after a kill.
func TestBackend(t *testing.T) {
	n, err := network.Start(network.Topology{Clients: make([]network.Host, 1), Backends: []network.Host{{CPU: 0.5}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	b, err := StartBackend(n, n.Host("backend1"), t.TempDir(), ServerConfig{Behavior: Behavior{Work: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := loadgen.NewClient(loadgen.Target{URL: "http://" + b.Address(), Dial: n.Host("client1").Dial, ServerHeader: "X-Backend"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	expect := func(when string, want loadgen.Reply) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if got := client.Do(ctx); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	expect("at first", loadgen.Reply{Status: 200, Server: "backend1"})
	if err := b.Set(Behavior{Errors: 1}); err != nil {
		t.Fatal(err)
	}
	expect("with errors", loadgen.Reply{Outcome: loadgen.Failed, Status: 500, Server: "backend1"})
	if c, err := b.Counts(); err != nil || c.Requests != 2 || c.Answered != 2 {
		t.Errorf("the counts are %+v, %v", c, err)
	}
	b.Kill()
	expect("after it was killed", loadgen.Reply{Outcome: loadgen.Failed})
	if _, err := b.Counts(); err == nil || !strings.Contains(err.Error(), "is down") {
		t.Errorf("the error of a killed backend is %v", err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	expect("after it was started again", loadgen.Reply{Status: 200, Server: "backend1"})
}
