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

// Page is the dashboard at /ballast/ of Caddy's admin endpoint, beside the API that it
// speaks to. It is there without being configured, for whoever may use the endpoint.
type Page struct{}

// controlled is the page as the admin endpoint shows it: its routes are asked for before
// a module is provisioned, which is for each configuration.
var controlled = sync.OnceValue(func() assets { return load(true) })

// CaddyModule returns the Caddy module information.
func (*Page) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.ballast_dashboard", New: func() caddy.Module { return new(Page) }}
}

const root = "/ballast/"

// Routes implements [caddy.AdminRouter]. What is not a file of the page is the API's.
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
