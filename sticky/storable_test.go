// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestStorable(t *testing.T) {
	for _, c := range []struct {
		request, response string
		want              bool
	}{
		{"GET", "200", false},
		{"GET", "200; Cache-Control: max-age=60", true},
		{"HEAD", "200; Cache-Control: max-age=60", true},
		{"POST", "200; Cache-Control: max-age=60", false},
		{"GET", "200; Cache-Control: private, max-age=60", false},
		{"GET", "200; Cache-Control: no-store", false},
		{"GET", "200; Cache-Control: no-cache, public", false},
		{"GET", "200; Cache-Control: Public", true},
		{"GET", "200; Cache-Control: max-age=0, s-maxage=60", true},
		{"GET", "200; Cache-Control: max-age=0", false},
		{"GET", "200; Last-Modified: Mon, 02 Jan 2023 00:00:00 GMT", true},
		{"GET", "200; Last-Modified: Mon, 02 Jan 2023 00:00:00 GMT; Cache-Control: max-age=0", false},
		{"GET", "200; Expires: Mon, 02 Jan 2023 00:00:00 GMT; Date: Sun, 01 Jan 2023 00:00:00 GMT", true},
		{"GET", "200; Expires: 0; Date: Sun, 01 Jan 2023 00:00:00 GMT", false},
		{"GET", "200; Vary: *; Cache-Control: max-age=60", false},
		{"GET; Authorization: x", "200; Cache-Control: max-age=60", false},
		{"GET; Authorization: x", "200; Cache-Control: public, max-age=60", true},
		{"GET", "101; Cache-Control: max-age=60", false},
		// Names of directives have no case (RFC 9111, 5.2), nor have those of fields.
		{"GET; Authorization: x", "200; Cache-Control: S-MaxAge=60", true},
		{"GET; Authorization: x", "200; Cache-Control: PUBLIC, Max-Age=60", true},
		{"GET; Authorization: x", "200; Cache-Control: Must-Revalidate, MAX-AGE=60", true},
		{"GET", "200; Cache-Control: PRIVATE, max-age=60", false},
		{"GET", "200; Cache-Control: No-Store, max-age=60", false},
		{"GET", "200; Cache-Control: No-Cache, max-age=60", false},
		{"GET", `200; Cache-Control: max-age=60, No-Cache="X-Id, set-cookie"`, false},
		{"GET", `200; Cache-Control: private="Set-Cookie", max-age=60`, false},
		{"GET", `200; Cache-Control: private="X-Id, X-No-Store", max-age=60`, true},
		{"GET", `200; Cache-Control: max-age="60"`, true},
		{"GET", "200; Cache-Control: max-age=99999999999999999999", true},
		{"GET", `200; Cache-Control: max-age="`, false},
	} {
		parse := func(s string) (string, http.Header) {
			first, rest, _ := strings.Cut(s, "; ")
			h := make(http.Header)
			for line := range strings.SplitSeq(rest, "; ") {
				if k, v, ok := strings.Cut(line, ": "); ok {
					h.Set(k, v)
				}
			}
			return first, h
		}
		method, head := parse(c.request)
		req := httptest.NewRequest(method, "/", nil)
		req.Header = head
		status, head := parse(c.response)
		res := &http.Response{StatusCode: map[string]int{"200": 200, "101": 101}[status], Header: head}
		if got := storable(req, res); got != c.want {
			t.Errorf("%s, %s: %v", c.request, c.response, got)
		}
	}
}

// The cookie is set once, with the response, unless a shared cache may store that.
func TestCookieIsNotForCaches(t *testing.T) {
	for _, c := range []struct {
		cacheable bool
		control   string
		want      int
	}{{false, "", 2}, {false, "max-age=60", 1}, {false, "private, max-age=60", 2}, {true, "max-age=60", 2}} {
		noted := 0
		k := &cookieSessions{cookie: &Cookie{Name: "who", Cacheable: c.cacheable}, lifetimes: Lifetimes{Idle: 1 << 40}, secrets: []string{"secret"}}
		if err := k.open(scope{true, "web"}, func(ID, Key) { noted++ }); err != nil {
			t.Fatal(err)
		}
		res := &http.Response{StatusCode: 200, Header: http.Header{"Set-Cookie": {"a=b"}, "Cache-Control": {c.control}}}
		(&cookieSetter{k, aBinding, true, false}).Answered(httptest.NewRequest(http.MethodGet, "/", nil), res, nil)
		if got := res.Header["Set-Cookie"]; len(got) != c.want || got[0] != "a=b" {
			t.Errorf("%+v: %v", c, got)
		}
		if want := c.want - 1; noted != want {
			t.Errorf("%+v: %d sessions have begun, want %d", c, noted, want)
		}
	}
}

// The scheme that a trusted proxy tells of has no case.
func TestForwardedSchemeHasNoCase(t *testing.T) {
	for scheme, want := range map[string]bool{"https": true, "HTTPS": true, "http": false, "": false} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("X-Forwarded-Proto", scheme)
		if secure(req) != want {
			t.Errorf("%q: secure %v", scheme, !want)
		}
	}
}
