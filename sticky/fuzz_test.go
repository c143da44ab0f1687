// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/sticky"
)

// Whatever the parser accepts must survive the JSON it becomes, and be provisioned.
func FuzzUnmarshal(f *testing.F) {
	const long = "0123456789abcdef"
	for _, seed := range []string{
		"sticky", "sticky {\n}", "sticky {\n cookie\n}", "sticky {\n cookie lb {\n secret " + long + "\n path /a\n domain example.com\n same_site strict\n secure\n max_age 1h\n }\n}",
		"sticky {\n cookie {\n secret " + long + " x" + long + "\n same_site none\n secure\n }\n ttl 1h\n max_lifetime 24h\n on_full rebind\n on_down fail\n fallback p2c 3\n}",
		"sticky {\n header X-A\n store memory 5000\n fallback random\n}", "sticky {\n client_ip\n store memory\n}", "sticky {\n learn cookie a\n rebalance 1.2\n}", "sticky {\n learn header X-A\n}", "sticky {\n learn query a\n}", "sticky {\n rebalance 0.5\n}", "sticky {\n query q\n on_full wait\n}",
		"sticky {\n cookie\n header X\n}", "sticky {\n cookie __Host-a {\n path /x\n }\n}", "sticky {\n cookie \"a b\"\n}", "sticky {\n cookie {\n path x\n }\n}",
		"sticky {\n ttl 1ms\n}", "sticky {\n ttl 1h\n max_lifetime 1m\n}", "sticky {\n cookie {\n secret short\n }\n}", "sticky {\n fallback sticky\n}", "sticky x", "sticky {", "",
		"sticky {\n header X {\n y\n }\n}", "sticky {\n cookie a b\n}", "sticky {\n store memory 1\n header X\n}", "sticky {\n store memory\n}", "sticky {\n cookie {\n domain \"a;b\"\n }\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		if !caddyfile.NewTestDispenser(tokens).Next() {
			t.Skip("there is always a name")
		}
		p := new(sticky.Sticky)
		if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)); err != nil {
			if !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("%q: no file and line in %v", tokens, err)
			}
			return
		}
		enc, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again := new(sticky.Sticky)
		if err := caddy.StrictUnmarshalJSON(enc, again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Errorf("%s: %+v != %+v", enc, p, again)
		}
		if p.FallbackRaw != nil { // which has a parser of its own
			return
		}
		if p.Cookie == nil && p.StoreRaw == nil && p.Header == "" && !p.ClientIP && p.Query == "" && p.Learn == nil {
			again.Cookie = new(sticky.Cookie)
		}
		if again.Cookie != nil && again.Cookie.Secret == "" {
			again.Cookie.Secret = long // or one is asked of the storage
		}
		if enc, err = json.Marshal(again); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		if _, err := ctx.LoadModuleByID("http.reverse_proxy.selection_policies.sticky", enc); err != nil {
			t.Errorf("%q is accepted, but as %s it is not: %v", tokens, enc, err)
		}
	})
}
