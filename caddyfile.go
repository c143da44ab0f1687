// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/dashboard"
	"github.com/ballast-lb/caddy-ballast/fanout"
	"github.com/ballast-lb/caddy-ballast/pool"
	"github.com/ballast-lb/caddy-ballast/register"
	"github.com/ballast-lb/caddy-ballast/shedder"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("ballast", globalOption)
	httpcaddyfile.RegisterHandlerDirective("shed", shed)
	httpcaddyfile.RegisterDirectiveOrder("shed", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("pool_register", poolRegister)
	httpcaddyfile.RegisterDirectiveOrder("pool_register", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("pool_status", poolStatus)
	httpcaddyfile.RegisterDirectiveOrder("pool_status", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("fanout", fanOut)
	httpcaddyfile.RegisterDirectiveOrder("fanout", httpcaddyfile.Before, "reverse_proxy")
}

// globalOption creates the ballast app from its global option.
func globalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(pool.App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if existing != nil {
		return nil, d.Err("the global option ballast is given twice; write one block with all pools")
	}
	return httpcaddyfile.App{Name: "ballast", Value: caddyconfig.JSON(app, nil)}, nil
}

// poolRegister creates a handler from its directive.
func poolRegister(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(register.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// poolStatus creates a handler from its directive.
func poolStatus(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(dashboard.Status)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// shed creates a handler from its directive.
func shed(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(shedder.Handler)
	return handler, handler.Unmarshal(h.Dispenser, func(d *caddyfile.Dispenser) (caddy.ModuleMap, bool, error) {
		return h.WithDispenser(d).MatcherToken()
	})
}

// fanOut creates a handler from its directive.
func fanOut(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(fanout.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}
