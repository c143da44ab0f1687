// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

func init() { caddy.RegisterModule(new(Status)) }

// Status shows the dashboard at a site of one's own, and what it shows as JSON, which
// is at the names pools and metrics beside it. It changes nothing. It shows the addresses of
// backends and why they fail: put it behind authentication.
type Status struct {
	page assets
}

// CaddyModule returns the Caddy module information.
func (*Status) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.pool_status", New: func() caddy.Module { return new(Status) }}
}

// Provision sets up the handler.
func (s *Status) Provision(caddy.Context) error {
	s.page = load(false)
	return nil
}

// told is what is told as JSON, by its name beside the page, which is as in the admin API.
var told = map[string]func() any{
	"pools":   func() any { return report.All() },
	"metrics": func() any { return report.Numbers() },
}

// ServeHTTP answers by the last part of the path that the client asked for, wherever the
// page is: behind handle_path, /status and /status/ are the same to all handlers, but not
// to a browser. Where the page may be, as at /status, a path without a slash at its end is
// sent to that with one.
func (s *Status) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	at := r.URL.Path
	if asked, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && asked.URL != nil {
		at = asked.URL.Path
	}
	name := at[strings.LastIndexByte(at, '/')+1:]
	tell := told[name]
	switch {
	case s.page.serve(w, r, name):
	case tell != nil:
		if readOnly(w, r) {
			write(w, tell())
		}
	case path.Ext(name) != "":
		return caddyhttp.Error(http.StatusNotFound, nil)
	case !readOnly(w, r):
	case mayBePage(at, r.URL.Path):
		// Relative, so that it leads to no other site.
		w.Header().Set("Location", "./"+url.PathEscape(name)+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return caddyhttp.Error(http.StatusNotFound, nil)
	}
	return nil
}

// mayBePage reports whether the page may be at a path that has no slash at its end: where
// nothing is left of it, as behind handle_path, or all of it is one segment. What is
// deeper is below the page.
func mayBePage(asked, left string) bool {
	return left == "/" || left == "" || left == asked && strings.LastIndexByte(asked, '/') == 0
}

func write(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	pool_status [<matcher>]
func (s *Status) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d)
	if d.NextArg() {
		return d.Errf("pool_status shows all pools and takes nothing but a matcher, got %q; write pool_status, or pool_status /status/*", d.Val())
	}
	return caddyfileutil.Block(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Status)(nil)
	_ caddyfile.Unmarshaler       = (*Status)(nil)
	_ caddyhttp.MiddlewareHandler = (*Status)(nil)
)
