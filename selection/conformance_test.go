// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/ballast-lb/caddy-ballast/pool"
	"github.com/ballast-lb/caddy-ballast/selection/policytest"
)

// Every policy of this package passes the suite, and so does one of another repository.
func TestConformance(t *testing.T) {
	found := 0
	for _, info := range caddy.GetModules("http.reverse_proxy.selection_policies") {
		name, typ := info.ID.Name(), fmt.Sprintf("%T", info.New())
		if !strings.HasPrefix(typ, "*selection.") && typ != "*selection_test.first" {
			continue
		}
		found++
		tokens, connecting := name, name
		if info.New().(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(name)) != nil {
			tokens += " header X-Key" // a policy with a key needs it
			connecting += " client_ip"
		}
		t.Run(name, func(t *testing.T) { policytest.Run(t, policytest.Policy{Caddyfile: tokens, Connections: connecting}) })
	}
	if found < 5 {
		t.Errorf("found only %d policies", found)
	}
}
