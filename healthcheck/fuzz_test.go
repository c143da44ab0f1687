// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// A check that the parser accepts must round-trip through JSON, and Provision must accept it unless
// it names a file.
func FuzzUnmarshalCheck(f *testing.F) {
	for _, seed := range []string{
		"http",
		"http /health?a=b {\n method HEAD\n host a.b:80\n header X-A b\n header X-B c\n body x\n expect_status 2xx 200-399 404\n expect_body ^ok\n follow_redirects\n}",
		"http {\n uri /\n interval 1s\n timeout 1s\n passes 1\n fails 1\n down_interval 1s\n edge_interval 1s\n jitter 10%\n initial down\n port 1\n}",
		"http {\n tls {\n server_name a\n insecure_skip_verify\n }\n}",
		"tcp",
		"tcp {\n send PING\\r\\n\\x00\\xff\\\\\n expect \"/^\\d+ ok$/\"\n tls\n}",
		"tcp {\n expect +OK\\n\n jitter 100%\n port 65535\n}",
		"http health", "http {\n header \"A B\" c\n}", "http {\n host \"a b\"\n}", "http {\n expect_status 6xx\n}", "http {\n expect_body (\n}",
		"tcp a", "tcp {\n send \\q\n}", "tcp {\n expect /(/\n}", "tcp {\n expect /\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		for _, name := range []string{"http", "tcp", "grpc", "agent"} {
			lbtest.RoundTrip(t, Namespace+"."+name, tokens)
			info, err := caddy.GetModule(Namespace + "." + name)
			if err != nil {
				t.Fatal(err)
			}
			check := info.New()
			if check.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)) != nil {
				continue
			}
			if err := check.(caddy.Provisioner).Provision(caddy.Context{}); err != nil && !strings.Contains(tokens, "ca") {
				t.Errorf("the parser accepts %s, but Provision rejects it: %v", name, err)
			}
		}
	})
}

// Any bytes can be written with escapes, and text without a backslash is unchanged.
func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{"", "PING", `PING\r\n`, `\x00\xfF`, `\\`, `\`, `\q`, `\x`, `\x1`, `\xzz`, `"`, "\\\"", "\\\n", "\n", "`", `\\x41`, "\xff", `\u0041`, `\101`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := unescape(s)
		if err == nil && len(got) > len(s) {
			t.Errorf("%q grew to %q", s, got)
		}
		if !strings.Contains(s, `\`) && (err != nil || got != s) {
			t.Errorf("%q became %q (%v)", s, got, err)
		}
		var escaped strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&escaped, `\x%02x`, c)
		}
		for _, written := range []string{escaped.String(), strings.ReplaceAll(s, `\`, `\\`)} {
			if got, err := unescape(written); err != nil || got != s {
				t.Errorf("%q became %q (%v), want %q", written, got, err, s)
			}
		}
	})
}
