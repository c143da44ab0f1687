// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// CheckPool implements [membership.PoolChecker].
func (a *App) CheckPool(ctx caddy.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.pools[name]; (p == nil || p.Unnamed) && !definesLater(ctx, name) {
		return fmt.Errorf("pool_register needs a pool %q, and there is none; define it in the ballast global option, or write `dynamic pool %s { ... }`", name, name)
	}
	if a.required == nil {
		a.required = make(map[string]bool)
	}
	a.required[name] = true
	return nil
}

// definesLater reports whether a proxy that is not provisioned yet defines a pool of this name.
// The pools of provisioned proxies are in the app's pools: Caddy drops the JSON of a route when
// it loads the handlers of the route.
func definesLater(ctx caddy.Context, name string) bool {
	lineage := ctx.Modules()
	if len(lineage) == 0 {
		return false
	}
	http, ok := lineage[0].(*caddyhttp.App)
	if !ok {
		return false
	}
	text, err := json.Marshal(http.Servers)
	if err != nil {
		return false
	}
	var servers any
	if err := json.Unmarshal(text, &servers); err != nil {
		return false
	}
	return defines(servers, name)
}

// defines reports whether a JSON value contains the definition of a pool with this name, not
// only a reference to it.
func defines(value any, name string) bool {
	switch value := value.(type) {
	case map[string]any:
		if value["source"] == "pool" && value["name"] == name {
			delete(value, "source") // the inline key, which Caddy removes too
			raw, _ := json.Marshal(value)
			var s Source
			return json.Unmarshal(raw, &s) != nil || !s.Config.empty() // the pool itself reports the error
		}
		for _, inner := range value {
			if defines(inner, name) {
				return true
			}
		}
	case []any:
		for _, inner := range value {
			if defines(inner, name) {
				return true
			}
		}
	}
	return false
}

// Interface guards
var _ membership.PoolChecker = (*App)(nil)
