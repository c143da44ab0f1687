// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func TestKeySources(t *testing.T) {
	get := func(url string, change ...func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodGet, url, nil)
		for _, f := range change {
			f(r)
		}
		return r
	}
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	for _, tt := range []struct {
		key, name string
		req       *http.Request
		want      string // empty: the request has no key
	}{
		{"client_ip", "", get("http://h/"), "192.0.2.1"},
		{"client_ip", "", get("http://h/", from("192.0.2.7:99")), "192.0.2.7"},
		{"client_ip", "", get("http://h/", from("[2001:db8::7]:99")), "2001:db8::7"},
		{"uri", "", get("/a/b?c=d"), "/a/b?c=d"},
		{"path", "", get("/a/b?c=d"), "/a/b"},
		{"host", "", get("http://Example.com:8443/"), "example.com"},
		{"host", "", get("http://[2001:db8::1]:8443/"), "2001:db8::1"},
		{"host", "", get("/", func(r *http.Request) { r.Host = "" }), ""},
		{"header", "x-user", get("/", header("X-User", "ann")), "ann"},
		{"header", "X-User", get("/", header("X-User", "ann", "bob")), "ann, bob"},
		{"header", "X-User", get("/", header("X-User", "ann, bob")), "ann, bob"},
		{"header", "X-User", get("/"), ""},
		{"header", "X-User", get("/", header("X-User", "")), ""},
		{"header", "X-User", get("/", header("X-User", "", "")), ""},
		{"header", "host", get("http://h:80/"), "h:80"},
		{"header", "Host", get("http://EXAMPLE.com/"), "example.com"},
		{"query", "q", get("/?q=1"), "1"},
		{"query", "q", get("/?a=2&q=1&b=3"), "1"},
		{"query", "q", get("/?q=1&q=2"), "1,2"},
		{"query", "q", get("/?q=a%20b"), "a b"},
		{"query", "q", get("/?q=a+b"), "a b"},
		{"query", "q", get("/?%71=1"), "1"},
		{"query", "a b", get("/?a+b=1"), "1"},
		{"query", "a+b", get("/?a+b=1"), ""},
		{"query", "a+b", get("/?a%2Bb=1"), "1"},
		{"query", "q", get("/?q=%zz&q=2"), "2"},
		{"query", "q", get("/?q=1;2&q=3"), "3"},
		{"query", "q", get("/?q="), ""},
		{"query", "q", get("/?q"), ""},
		{"query", "q", get("/?qq=1"), ""},
		{"query", "q", get("/"), ""},
		{"cookie", "sid", get("/", header("Cookie", "sid=1")), "1"},
		{"cookie", "sid", get("/", header("Cookie", `a=b; sid="1 2"; sid=3`)), "1 2"},
		{"cookie", "sid", get("/", header("Cookie", "a=b", "sid=1")), "1"},
		{"cookie", "sid", get("/", header("Cookie", "xsid=1; sidx=2; sid")), ""},
		{"cookie", "sid", get("/", header("Cookie", "sid=")), ""},
		{"cookie", "sid", get("/"), ""},
		{"{http.request.method}", "", get("/"), "GET"},
		{"{http.request.header.X-User}/{http.request.uri.path}", "", get("/p", header("X-User", "ann")), "ann//p"},
		{"t-{http.request.header.X-User}", "", get("/", header("X-User", "ann")), "t-ann"},
		{"t-{http.request.header.X-User}", "", get("/"), ""},
		{"{unknown.placeholder}", "", get("/"), ""},
	} {
		k, err := NewRequestKey(tt.key, tt.name)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := k.Hash(lbtest.Prepare(tt.req, caddy.NewReplacer(), httptest.NewRecorder()))
		if ok != (tt.want != "") {
			t.Errorf("%s %s: has a key: %v, want %q", tt.key, tt.name, ok, tt.want)
		} else if ok && got != xxhash.Sum64String(tt.want) {
			t.Errorf("%s %s: the key is not %q", tt.key, tt.name, tt.want)
		}
		// As from another module, without anything of Caddy: no panic.
		bare, _ := http.NewRequest(http.MethodGet, "/", nil)
		k.Hash(bare)
	}
}

func TestKeyRefused(t *testing.T) {
	for _, tt := range []struct{ key, name, want string }{
		{"", "", "the key is missing; write one of: client_ip, uri"},
		{"header", "", "the key `header` needs a name"},
		{"query", "", "the key `query` needs a name"},
		{"cookie", "", "the key `cookie` needs a name"},
		{"client_ip", "x", "the key `client_ip` takes no name"},
		{"{http.request.uri}", "x", "takes no name"},
		{"client", "", `unknown key "client"; write one of`},
		{"a text", "", "unknown key"},
	} {
		if _, err := NewRequestKey(tt.key, tt.name); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %q: got error %v, want %q", tt.key, tt.name, err, tt.want)
		}
	}
}
