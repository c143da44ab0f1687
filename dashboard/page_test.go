// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// get asks a handler, with a header field if name is not empty.
func get(t *testing.T, h func(http.ResponseWriter, *http.Request) error, method, path, name, value string) (*httptest.ResponseRecorder, int) {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "http://status.test"+path, nil)
	if name != "" {
		r.Header.Set(name, value)
	}
	if err := h(w, r); err != nil {
		herr, ok := err.(caddyhttp.HandlerError)
		if !ok {
			t.Fatal(err)
		}
		return w, herr.StatusCode
	}
	return w, w.Code
}

func status(t *testing.T) func(http.ResponseWriter, *http.Request) error {
	t.Helper()
	s := new(Status)
	if err := s.Provision(caddy.Context{Context: context.Background()}); err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) error { return s.ServeHTTP(w, r, nil) }
}

func TestPaths(t *testing.T) {
	page := new(Page)
	for _, tt := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 200, "text/html"},
		{"HEAD", "/deep/in/the/site/", 200, "text/html"},
		{"GET", "/status/app.js", 200, "text/javascript"},
		{"GET", "/status/style.css", 200, "text/css"},
		{"GET", "/status/pools", 200, "application/json"},
		{"GET", "/status/history", 200, "application/json"},
		{"GET", "/status/history?backend=a", 400, ""},
		{"GET", "/status/events?last=5", 200, "application/json"},
		{"GET", "/status/events?last=x", 400, ""},
		{"GET", "/status/fleet", 404, ""}, // there is none
		{"POST", "/status/events", 405, ""},
		{"GET", "/status", 307, ""},
		{"GET", "/status/nothing.js", 404, ""},
		{"GET", "/status/../page.go", 404, ""},
		{"POST", "/status/", 405, ""},
		{"PATCH", "/status/pools", 405, ""},
		{"DELETE", "/status", 405, ""},
	} {
		w, code := get(t, status(t), tt.method, tt.path, "", "")
		if code != tt.status || !strings.HasPrefix(w.Header().Get("Content-Type"), tt.kind) {
			t.Errorf("%s %s: %d, %q", tt.method, tt.path, code, w.Header().Get("Content-Type"))
		}
		if code == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: allows %q", tt.method, tt.path, w.Header().Get("Allow"))
		}
	}
	if w, _ := get(t, status(t), "GET", "/a%2Fb//evil.test", "", ""); strings.HasPrefix(strings.TrimPrefix(w.Header().Get("Location"), "./"), "/") {
		t.Errorf("sent to %q, which is somewhere else", w.Header().Get("Location"))
	}
	for _, route := range page.Routes() {
		if !strings.HasPrefix(route.Pattern, "/ballast/") {
			t.Errorf("a route at %s", route.Pattern)
		}
	}
	w, _ := get(t, page.serve, "GET", "/ballast/", "", "")
	if !strings.Contains(w.Body.String(), `data-mode="control"`) {
		t.Error("the page of the admin endpoint does not control")
	}
	if w, _ := get(t, status(t), "GET", "/", "", ""); strings.Contains(w.Body.String(), `data-mode="control"`) {
		t.Error("the page of a site does control")
	}
}

// The page asks for nothing from elsewhere, and nothing that its policy forbids.
func TestPolicy(t *testing.T) {
	w, _ := get(t, status(t), "GET", "/", "", "")
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-cache",
	} {
		if got := w.Header().Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q", name, got)
		}
	}
	if strings.Contains(w.Header().Get("Content-Security-Policy"), "unsafe") {
		t.Error("the policy is none")
	}
	forbidden := regexp.MustCompile(`(?i)\son[a-z]+=|\sstyle=|<script>|<style|https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(`)
	for name, a := range load(true) {
		text := strings.ReplaceAll(string(a.data), "http://www.w3.org/2000/svg", "")
		if found := forbidden.FindString(text); found != "" {
			t.Errorf("%q has %q", name, found)
		}
	}
	again, code := get(t, status(t), "GET", "/", "If-None-Match", w.Header().Get("ETag"))
	if code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("asked whether it has changed: %d", code)
	}
}

func TestReport(t *testing.T) {
	w, _ := get(t, status(t), "GET", "/pools", "", "")
	var all report.Pools
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || all.Pools == nil || all.Shed == nil {
		t.Errorf("%s: %v", w.Body, err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a cache may keep it")
	}
}
