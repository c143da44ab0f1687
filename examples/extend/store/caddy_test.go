// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mapstore

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

// A Caddy with this store keeps users with their backends, also over a reload.
func TestInCaddy(t *testing.T) {
	site := "127.0.0.1:" + freePort(t)
	backends := ""
	for n := range 3 {
		b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) }))
		t.Cleanup(b.Close)
		backends += b.Listener.Addr().String() + " "
	}
	home := make([]string, 9)
	for _, ttl := range []string{"1h", "2h"} {
		run(t, fmt.Sprintf(`{
			admin off
			auto_https off
		}
		http://%s {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool users {
					to %s
				}
				lb_policy sticky {
					header X-User
					store map 1000
					store_timeout 1s
					ttl %s
				}
			}
		}`, site, backends, ttl))
		for range 3 {
			for user, was := range home {
				req, _ := http.NewRequest(http.MethodGet, "http://"+site, nil)
				req.Header.Set("X-User", fmt.Sprint(user))
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if home[user] = string(body); was != "" && home[user] != was {
					t.Errorf("user %d went to %s, and before to %s", user, home[user], was)
				}
			}
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
