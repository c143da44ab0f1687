// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package nearestpolicy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/ballast-lb/caddy-ballast"
)

// A Caddy with this policy sends requests to the backend of its zone, and to the other one
// when that has gone.
func TestInCaddy(t *testing.T) {
	backends := make(map[string]*httptest.Server)
	for _, zone := range []string{"east", "west"} {
		backends[zone] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, zone) }))
		t.Cleanup(backends[zone].Close)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	site := l.Addr().String()
	l.Close()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
		admin off
		auto_https off
	}
	http://%s {
		bind 127.0.0.1
		reverse_proxy {
			dynamic pool {
				backend %s {
					zone east
				}
				backend %s {
					zone west
				}
			}
			lb_policy nearest west
			lb_retries 1
		}
	}`, site, backends["east"].Listener.Addr(), backends["west"].Listener.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	for _, want := range []string{"west", "east"} {
		for range 20 {
			resp, err := http.Get("http://" + site)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != want {
				t.Errorf("status %d from %q, want %q", resp.StatusCode, body, want)
			}
		}
		backends["west"].Close()
	}
}
