// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Page)) }

// Page serves the dashboard at /ballast/ of Caddy's admin endpoint, beside the API that it
// uses. It is available without configuration, to every client that may use the endpoint.
type Page struct{}

// controlled returns the files of the page with controls. They are loaded once, because Caddy
// asks for the routes before each configuration provisions the module.
var controlled = sync.OnceValue(func() assets { return load(true) })

// CaddyModule returns the Caddy module information.
func (*Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.ballast_dashboard", New: func() caddy.Module { return new(Page) }}
}

const root = "/ballast/"

// Routes implements [caddy.AdminRouter]. All other paths belong to the API.
func (p *Page) Routes() (routes []caddy.AdminRoute) {
	for name := range controlled() {
		pattern := root + name
		if name == "" {
			pattern += "{$}"
		}
		routes = append(routes, caddy.AdminRoute{Pattern: pattern, Handler: caddy.AdminHandlerFunc(p.serve)})
	}
	return routes
}

func (p *Page) serve(w http.ResponseWriter, r *http.Request) error {
	controlled().serve(w, r, strings.TrimPrefix(r.URL.Path, root))
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Page)(nil)
)
