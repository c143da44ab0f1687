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

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
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

// What README shows is valid.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "## Example\n\n```caddyfile\n")
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

// Every option adapts to its JSON, and what is wrong is refused with file and line, and what to write instead.
func TestCaddyfile(t *testing.T) { lbtest.Adapt(t, "testdata/adapt/*.caddyfiletest") }
