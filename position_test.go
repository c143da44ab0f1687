// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// What is wrong with a configuration is said with its own file and line. Another that
// was adapted before, by anybody who may ask the admin endpoint to, is not named.
func TestPositionsAreOfTheirConfiguration(t *testing.T) {
	const other = ":80\nreverse_proxy {\n\tdynamic pool other {\n\t\tto 10.0.0.1:80\n\t}\n}\nhandle /a {\n\tfanout other\n}\nhandle /b {\n\tpool_register other {\n\t\topen\n\t}\n}\n"
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(other), map[string]any{"filename": "/home/alice/Caddyfile"}); err != nil {
		t.Fatal(err)
	}
	for directive, handler := range map[string]string{
		"reverse_proxy {\n\tdynamic pool other\n}": `{"handler": "reverse_proxy", "dynamic_upstreams": {"source": "pool", "name": "other"}}`,
		"fanout other":                     `{"handler": "fanout", "pool": "other"}`,
		"pool_register other {\n\topen\n}": `{"handler": "pool_register", "pool": "other", "open": true}`,
	} {
		err := lbtest.Validate([]byte(`{"apps": {"http": {"servers": {"main": {"listen": [":80"], "routes": [{"handle": [` + handler + `]}]}}}}}`))
		if err == nil || strings.Contains(err.Error(), "Caddyfile") {
			t.Errorf("%s: got %v, want an error that names no file", handler, err)
		}
		out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":80\n"+directive), map[string]any{"filename": "/etc/mine"})
		if err != nil {
			t.Fatal(err)
		}
		want := "at /etc/mine:2"
		if strings.HasPrefix(directive, "reverse_proxy") {
			want = "at /etc/mine:3"
		}
		if err := lbtest.Validate(out); err == nil || strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s: got %v, want it to end with %q", directive, err, want)
		}
	}
}

// A handler may come before the proxy that has its pool: in another route, inside
// others, or in a server that is provisioned later.
func TestRegistrationFindsPoolsOfProxies(t *testing.T) {
	const (
		register = `{"handle": [{"handler": "pool_register", "pool": "web", "open": true}]}`
		proxy    = `{"handle": [{"handler": "subroute", "routes": [{"handle": [{"handler": "reverse_proxy", "dynamic_upstreams": {"source": "pool", "name": "web", "backends": [{"dial": "10.0.0.1:80"}]}}]}]}]}`
		user     = `{"handle": [{"handler": "reverse_proxy", "dynamic_upstreams": {"source": "pool", "name": "web"}}]}`
		one      = `{"apps": {"http": {"servers": {"a": {"listen": [":81"], "routes": [%]}}}}}`
		two      = `{"apps": {"http": {"servers": {"a": {"listen": [":81"], "routes": [` + register + `]}, "b": {"listen": [":82"], %}}}}}`
		route    = `{"apps": {"http": {"servers": {"a": {"listen": [":81"], "routes": [{"handle": [{"handler": "subroute", "routes": [%]}]}]}}}}}`
	)
	for range 4 { // servers come in any order
		for _, config := range []string{
			strings.Replace(one, "%", register+","+proxy, 1), strings.Replace(one, "%", proxy+","+register, 1),
			strings.Replace(route, "%", register+","+proxy, 1), strings.Replace(route, "%", proxy+","+register, 1),
			strings.Replace(two, "%", `"routes": [`+proxy+`]`, 1), strings.Replace(two, "%", `"errors": {"routes": [`+proxy+`]}`, 1),
			strings.Replace(two, "%", `"named_routes": {"r": `+proxy+`}`, 1),
		} {
			if err := lbtest.Validate([]byte(config)); err != nil {
				t.Errorf("%s: %v", config, err)
			}
		}
	}
	for _, config := range []string{strings.Replace(one, "%", register, 1), strings.Replace(one, "%", register+","+strings.ReplaceAll(proxy, `"web"`, `"app"`), 1)} {
		if err := lbtest.Validate([]byte(config)); err == nil || !strings.Contains(err.Error(), `pool_register needs a pool "web", and there is none`) {
			t.Errorf("%s: got %v", config, err)
		}
	}
	if err := lbtest.Validate([]byte(strings.Replace(one, "%", register+","+user, 1))); err == nil {
		t.Error("a pool that is only used is not defined")
	}
}
