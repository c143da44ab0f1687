// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/dashboard"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/report"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

// status returns what pool_status answers, with Caddy's error if there is one. asked is
// the path that the client asked for, and path what is left of it.
func status(t *testing.T, method, asked, path string, header http.Header) (*httptest.ResponseRecorder, error) {
	t.Helper()
	h := new(dashboard.Status)
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, asked, nil)
	r.Header = header
	r = lbtest.Prepare(r, caddy.NewReplacer(), w)
	r.URL.Path = path // as handle_path leaves it
	return w, h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler is asked")
		return nil
	}))
}

// admin returns the routes that Caddy's admin endpoint has.
func admin(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	for _, route := range new(dashboard.Page).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				t.Errorf("%s: %v", r.URL, err)
			}
		})
	}
	return mux
}

// names returns the names of the files of the page, the page itself as "".
func names(t *testing.T) (all []string) {
	t.Helper()
	entries, err := os.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, strings.TrimSuffix(e.Name(), "index.html"))
	}
	return all
}

var types = map[string]string{"": "text/html", ".css": "text/css", ".js": "text/javascript"}

// Each file comes with what keeps others from adding to it, and is asked for again only
// if it has changed.
func TestFiles(t *testing.T) {
	endpoint := admin(t)
	for _, name := range names(t) {
		onStatus, err := status(t, "GET", "/status/"+name, "/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		onAdmin := httptest.NewRecorder()
		endpoint.ServeHTTP(onAdmin, httptest.NewRequest("GET", "/ballast/"+name, nil))
		for where, w := range map[string]*httptest.ResponseRecorder{"pool_status": onStatus, "admin endpoint": onAdmin} {
			h := w.Header()
			if w.Code != 200 || w.Body.Len() == 0 || !strings.HasPrefix(h.Get("Content-Type"), types[filepath.Ext(name)]) {
				t.Errorf("%s, %q: status %d, %d bytes, %v", where, name, w.Code, w.Body.Len(), h)
			}
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
				"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
				if !strings.Contains(h.Get("Content-Security-Policy"), part) {
					t.Errorf("%s, %q: %s is missing in %q", where, name, part, h.Get("Content-Security-Policy"))
				}
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") == "" || h.Get("Cache-Control") != "no-cache" || h.Get("ETag") == "" {
				t.Errorf("%s, %q: %v", where, name, h)
			}
		}
		again, _ := status(t, "GET", "/status/"+name, "/"+name, http.Header{"If-None-Match": {onStatus.Header().Get("ETag")}})
		if again.Code != 304 || again.Body.Len() > 0 {
			t.Errorf("%q again: status %d, %d bytes", name, again.Code, again.Body.Len())
		}
		if name == "" && onStatus.Header().Get("ETag") == onAdmin.Header().Get("ETag") {
			t.Error("the page that changes nothing has the tag of the one that does")
		}
	}
}

func TestStatusPaths(t *testing.T) {
	for _, tt := range []struct {
		method, asked, path string
		status              int
		location            string
	}{
		{"GET", "/", "/", 200, ""},
		{"HEAD", "/status/", "/", 200, ""},
		{"GET", "/status/app.js", "/app.js", 200, ""},
		{"GET", "/status/app.js", "/status/app.js", 200, ""},
		{"GET", "/status/pools", "/pools", 200, ""},
		{"GET", "/status/metrics", "/status/metrics", 200, ""},
		{"HEAD", "/status/pools", "/pools", 200, ""},
		// Both are / behind handle_path, but what the page asks for is beside it.
		{"GET", "/status", "/", 307, "./status/"},
		{"GET", "/status", "/status", 307, "./status/"},
		{"GET", "//evil.example", "//evil.example", 404, ""},
		{"GET", "//evil", "//evil", 404, ""},
		{"GET", "/ops/status", "/", 307, "./status/"},
		// What is below the page, and nothing of it.
		{"GET", "/status/nope", "/status/nope", 404, ""},
		{"GET", "/status/nope", "/nope", 404, ""},
		{"HEAD", "/status/pools/web/explain", "/status/pools/web/explain", 404, ""},
		{"GET", "/status/pools/web/explain", "/pools/web/explain", 404, ""},
		{"GET", "/status/pools/web", "/pools/web", 404, ""},
		{"GET", "/javascript:alert(1)", "/javascript:alert(1)", 307, "./javascript:alert%281%29/"},
		{"GET", "/nothing.js", "/nothing.js", 404, ""},
		{"GET", "/page/index.html", "/page/index.html", 404, ""},
		{"GET", "/../page.go", "/../page.go", 404, ""},
		{"POST", "/status/", "/", 405, ""},
		{"POST", "/status/pools", "/pools", 405, ""},
		{"PATCH", "/status/pools/web/backends/a", "/pools/web/backends/a", 405, ""},
		{"DELETE", "/status/metrics", "/metrics", 405, ""},
		{"OPTIONS", "/status/pools", "/pools", 405, ""},
	} {
		w, err := status(t, tt.method, tt.asked, tt.path, nil)
		code := w.Code
		var said caddyhttp.HandlerError
		if errors.As(err, &said) {
			code = said.StatusCode
		} else if err != nil {
			t.Error(err)
		}
		if code != tt.status || w.Header().Get("Location") != tt.location {
			t.Errorf("%s %s, left %s: status %d to %q, want %d to %q", tt.method, tt.asked, tt.path, code, w.Header().Get("Location"), tt.status, tt.location)
		}
		if code == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow is %q", tt.method, tt.asked, w.Header().Get("Allow"))
		}
	}
}

// What pool_status tells is what the admin API does.
func TestStatusTells(t *testing.T) {
	_, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web",`+
		`"backends":[{"dial":"a:1","id":"<b>a</b>","weight":3},{"dial":"b:1"}]}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(name string, v any) {
		t.Helper()
		w, err := status(t, "GET", "/"+name, "/"+name, nil)
		d := json.NewDecoder(w.Body)
		d.DisallowUnknownFields()
		if err != nil || d.Decode(v) != nil {
			t.Fatalf("%s: %v, %s", name, err, w.Body)
		}
		if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, h)
		}
	}
	var pools report.Pools
	tell("pools", &pools)
	if len(pools.Pools) != 1 || len(pools.Pools[0].Backends) != 2 || pools.Pools[0].Backends[0].ID != "<b>a</b>" || pools.Shed == nil {
		t.Errorf("%+v", pools)
	}
	var numbers report.Metrics
	tell("metrics", &numbers)
	if len(numbers.Backends) != 2 {
		t.Errorf("%+v", numbers)
	}
}
