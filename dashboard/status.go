// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/json"
	"errors"
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

// Status serves the dashboard, without controls, at a site other than the admin endpoint, and
// its data as JSON at the names pools, metrics, history, events and fleet beside it. It shows the addresses of
// backends and the reasons of their failures: put it behind authentication.
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

// data contains the JSON data by name, in the format of the admin API.
var data = map[string]func(url.Values) (any, error){
	"pools":   func(url.Values) (any, error) { return report.All(), nil },
	"metrics": func(url.Values) (any, error) { return report.Numbers(), nil },
	"history": func(query url.Values) (any, error) { return report.OfHistory(query) },
	"events":  func(query url.Values) (any, error) { return report.OfEvents(query) },
	"fleet":   fleetOf,
}

func fleetOf(url.Values) (any, error) {
	out, ok := report.OfFleet()
	if !ok {
		return nil, caddyhttp.Error(http.StatusNotFound, nil)
	}
	return out, nil
}

// ServeHTTP serves by the last segment of the path that the client requested, whatever the
// prefix: behind handle_path, handlers cannot distinguish /status and /status/, but a browser
// does. A path that may be the page, such as /status, is redirected to the path with a slash.
func (s *Status) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	requested := r.URL.Path
	if asked, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && asked.URL != nil {
		requested = asked.URL.Path
	}
	name := requested[strings.LastIndexByte(requested, '/')+1:]
	tell := data[name]
	switch {
	case s.page.serve(w, r, name):
	case tell != nil:
		if !readOnly(w, r) {
			return nil
		}
		out, err := tell(r.URL.Query())
		if errors.As(err, new(caddyhttp.HandlerError)) {
			return err
		} else if err != nil {
			return caddyhttp.Error(http.StatusBadRequest, err)
		}
		write(w, out)
	case path.Ext(name) != "":
		return caddyhttp.Error(http.StatusNotFound, nil)
	case !readOnly(w, r):
	case mayBePage(requested, r.URL.Path):
		// A relative URL, so that it cannot lead to another site.
		w.Header().Set("Location", "./"+url.PathEscape(name)+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return caddyhttp.Error(http.StatusNotFound, nil)
	}
	return nil
}

// mayBePage reports whether a requested without a final slash may be the page: it is stripped
// completely, as behind handle_path, or has one segment only. Longer paths are below the
// page.
func mayBePage(asked, left string) bool {
	return left == "/" || left == "" || left == asked && strings.LastIndexByte(asked, '/') == 0
}

func write(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(v) // the client may have left
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
