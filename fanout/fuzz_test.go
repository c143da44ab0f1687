// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/fanout"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Whatever the parser accepts must survive the JSON it becomes, and is either
// provisioned or refused for what only the pool can tell.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		"fanout web", "fanout 10.0.0.1:80 10.0.0.2:80", "fanout unix//run/a.sock", "fanout https://a", "fanout a:1-3 {\n quorum 3\n}", "fanout a:1 {\n}",
		"fanout a:1 {\n expect 201 2xx 200-204\n quorum majority\n retries 0\n backoff 1s 2s 0\n timeout 1m\n}",
		"fanout a:1 {\n max_body 64KB\n max_bytes 1MiB\n max_requests 1\n respond summary\n detach\n name a\n idempotency_header X-A\n}",
		"fanout a:1 {\n transport http {\n  dial_timeout 1s\n }\n}", "fanout a:1 {\n transport http\n}", "fanout", "fanout {\n}", "fanout \"\"", "fanout a b", "fanout {a}",
		"fanout a:1 {\n quorum 2\n}", "fanout a:1 {\n quorum 0\n}", "fanout a:1 {\n backoff 2s 1s\n}", "fanout a:1 {\n backoff 1s\n}", "fanout a:1 {\n max_body 0\n}",
		"fanout a:1 {\n max_bytes 1\n}", "fanout a:1 {\n max_body 1\n max_bytes 1\n}", "fanout a:1 {\n max_body 1e3\n}", "fanout a:1 {\n idempotency_header \"a b\"\n}",
		"fanout a:1 {\n detach {\n x\n }\n}", "fanout a:1 {\n expect 201 {\n x\n }\n}", "fanout {", "fanout }", "", "fanout a:1 {\n retries 1001\n}", "fanout :", "fanout /", "fanout a:1 b:2 {\n quorum 9999999999999999999\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		if !caddyfile.NewTestDispenser(tokens).Next() {
			t.Skip("a directive has a name")
		}
		h := new(fanout.Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)); err != nil {
			if !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("%q: no file and line in %v", tokens, err)
			}
			return
		}
		enc, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		again := new(fanout.Handler)
		if err := caddy.StrictUnmarshalJSON(enc, again); err != nil {
			t.Fatal(err)
		}
		if string(h.TransportRaw) == string(again.TransportRaw) {
			h.TransportRaw, again.TransportRaw = nil, nil
		}
		if !reflect.DeepEqual(h, again) {
			t.Errorf("%s: %+v != %+v", enc, h, again)
		}
		c, err := lbtest.LoadConfig(t, nil, nil, func(ctx caddy.Context) error {
			_, err := ctx.LoadModuleByID("http.handlers.fanout", enc)
			return err
		})
		if err != nil && !onlySeenLater(err) {
			t.Errorf("%q is accepted, but as %s it is not: %v", tokens, enc, err)
		}
		if err == nil {
			c.Close()
		}
	})
}

// onlySeenLater reports whether an error is about something that the parser
// cannot know: what a pool makes of its addresses, and a transport of its options.
func onlySeenLater(err error) bool {
	return strings.Contains(err.Error(), "http.handlers.reverse_proxy")
}
