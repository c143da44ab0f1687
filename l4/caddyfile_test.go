// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
)

// adapt adapts a Caddyfile, and provisions it if that succeeds. It returns the JSON of caddy-l4's app.
func adapt(text string) (string, error) {
	data, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	cfg := new(caddy.Config)
	if err := json.Unmarshal(data, cfg); err != nil {
		return "", err
	}
	app := string(cfg.AppsRaw["layer4"])
	return app, caddy.Validate(cfg)
}

// tcp returns a Caddyfile with one handler.
func tcp(balance string) string {
	return "{\n\tadmin off\n\tballast {\n\t\tpool db {\n\t\t\tto 127.0.0.1:1\n\t\t}\n\t}\n\tlayer4 {\n\t\t127.0.0.1:0 {\n\t\t\troute {\n" + balance + "\n\t\t\t}\n\t\t}\n\t}\n}\n"
}

// What README shows is valid.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "## Example\n\n```text\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("README has no example")
	}
	if _, err := adapt(example); err != nil {
		t.Error(err)
	}
	_, options, _ := strings.Cut(string(text), "## Options\n\n```text\n")
	options, _, _ = strings.Cut(options, "```")
	for _, name := range []string{
		"lb_policy", "retries", "connect_timeout", "idle_timeout", "half_closed_timeout", "max_lifetime", "proxy_protocol", "keepalive", "tls",
	} {
		if !strings.Contains(options, "\n\t"+name+" ") {
			t.Errorf("README does not tell of %s", name)
		}
	}
}

// Every option adapts to its JSON, and what is wrong is refused with its line.
func TestCaddyfile(t *testing.T) {
	app, err := adapt(tcp(`balance db {
		lb_policy maglev client_ip
		retries 3
		connect_timeout 1s
		idle_timeout 1h
		half_closed_timeout 2m
		max_lifetime 24h
		proxy_protocol v2
		keepalive off
		tls {
			server_name db.example
		}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"handler":"balance"`, `"pool":"db"`, `"policy":"maglev"`, `"retries":3`, `"connect_timeout":1000000000`, `"idle_timeout":3600000000000`,
		`"half_closed_timeout":120000000000`, `"max_lifetime":86400000000000`, `"proxy_protocol":"v2"`, `"keepalive":-1`, `"server_name":"db.example"`,
	} {
		if !strings.Contains(app, want) {
			t.Errorf("%s has no %s", app, want)
		}
	}
	for _, tt := range []struct{ balance, want string }{
		{"balance", "the pool is missing; write balance <pool>"},
		{"balance other", `there is no pool "other" in the ballast global option; write one of: db`},
		{"balance db {\nretries 101\n}", "Caddyfile:12"},
		{"balance db {\nretries -1\n}", "retries must be"},
		{"balance db {\nconnect_timeout 0s\n}", "connect_timeout"},
		{"balance db {\nproxy_protocol v3\n}", "proxy_protocol must be"},
		{"balance db {\nupstream 10.0.0.1:1\n}", "write it in the pool, in the ballast global option"},
		{"balance db {\ndial_timeout 1s\n}", "write `connect_timeout <duration>`"},
		{"balance db {\nlb_policy sticky {\ncookie s\n}\n}", "write sticky client_ip"},
		{"balance db {\nlb_policy round_robin\n}", "round_robin"},
		{"balance db {\nlb_policy maglev header X\n}", "Caddyfile:12"},
	} {
		if _, err := adapt(tcp(tt.balance)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.balance, err, tt.want)
		}
	}
}
