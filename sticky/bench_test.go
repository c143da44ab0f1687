// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// BenchmarkSession is what choosing a backend costs for a request that has a session,
// in pools of different sizes.
func BenchmarkSession(b *testing.B) {
	for name, config := range map[string]string{"cookie": byCookie, "header": `,"header":"X-Client"`, "cookie_rebalance": byCookie + `,"rebalance":1.2`} {
		for _, n := range []int{3, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				members, backends := make([]string, n), make(lbtest.Backends)
				for i := range members {
					members[i] = fmt.Sprintf(`{"dial":"u%d:1"}`, i)
					backends[fmt.Sprintf("u%d:1", i)] = lbtest.Latency(0)
				}
				p := lbtest.NewProxy(b, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web","backends":[%s]},
					"load_balancing":{"selection_policy":{"policy":"sticky"%s}}}`, strings.Join(members, ","), config), backends)
				first, err := p.Do(session(nil))
				if err != nil {
					b.Fatal(err)
				}
				w := httptest.NewRecorder()
				req := lbtest.Prepare(session(first.Result().Cookies()), caddy.NewReplacer(), w)
				policy := p.LoadBalancing.SelectionPolicy
				b.ReportAllocs()
				for b.Loop() {
					if u := policy.Select(nil, req, w); u.Dial != first.Header().Get("X-Upstream") {
						b.Fatalf("selected %s after %s", u.Dial, first.Header().Get("X-Upstream"))
					}
				}
			})
		}
	}
}

// session is a request of a client.
func session(cookies []*http.Cookie) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)
	req.Header.Set("X-Client", "me")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	return req
}
