// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/attach"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// BenchmarkSelect is what a request of a session costs, in pools of different
// sizes.
func BenchmarkSelect(b *testing.B) {
	for name, config := range map[string]string{"cookie": byCookie, "header": `,"header":"X-Client"`} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
				defer cancel()
				mod, err := ctx.LoadModuleByID("http.reverse_proxy.selection_policies.sticky", json.RawMessage("{"+config[1:]+"}"))
				if err != nil {
					b.Fatal(err)
				}
				pool, members := backend.NewPool("bench"), make([]*backend.Backend, n)
				for i := range members {
					id := fmt.Sprint("u", i)
					members[i] = backend.New("bench", backend.Settings{Address: id, ID: id, Weight: 1}, backend.NewState(), nil, nil)
				}
				pool.SetMembers(backend.NewMembers(members))
				if err := mod.(attach.PoolUser).UsePool(pool); err != nil {
					b.Fatal(err)
				}
				w := httptest.NewRecorder()
				req := httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)
				req.Header.Set("X-Client", "me")
				req = lbtest.Prepare(req, caddy.NewReplacer(), w)
				first := mod.(reverseproxy.Selector).Select(nil, req, w)
				for _, c := range w.Result().Cookies() {
					req.AddCookie(c)
				}
				b.ReportAllocs()
				for b.Loop() {
					if u := mod.(reverseproxy.Selector).Select(nil, req, w); u != first {
						b.Fatalf("selected %v after %v", u, first)
					}
				}
			})
		}
	}
}
