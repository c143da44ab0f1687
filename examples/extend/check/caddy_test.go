// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redischeck

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/ballast-lb/caddy-ballast"
)

// A Caddy with this check takes a backend down whose Redis is not ready, and brings it
// up again.
func TestInCaddy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(backend.Close)
	var loading atomic.Bool
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if loading.Load() {
					redis("-LOADING")(conn)
				}
				redis("+PONG")(conn)
			}()
		}
	}()
	site := "127.0.0.1:" + freePort(t)
	run(t, fmt.Sprintf(`{
		admin off
		auto_https off
	}
	http://%s {
		bind 127.0.0.1
		reverse_proxy {
			dynamic pool {
				to %s
				guard off # there is one backend, whose traffic succeeds
				health redis {
					port %d
					password secret
					interval 10ms
				}
			}
		}
	}`, site, backend.Listener.Addr(), server.Addr().(*net.TCPAddr).Port))
	for _, step := range []struct {
		loading bool
		want    int
	}{{false, 200}, {true, 503}, {false, 200}} {
		loading.Store(step.loading)
		got := 0
		for deadline := time.Now().Add(20 * time.Second); got != step.want && time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
			resp, err := http.Get("http://" + site)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got = resp.StatusCode
		}
		if got != step.want {
			t.Errorf("status %d while loading is %v, want %d", got, step.loading, step.want)
		}
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// run runs Caddy with a Caddyfile in this process.
func run(t *testing.T, text string) {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
}
