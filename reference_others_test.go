// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build modules

package ballast_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/schema"
	_ "github.com/ballast-lb/caddy-ballast/l4"
	_ "github.com/ballast-lb/caddy-ballast/redisstore"
)

func init() { linked = slices.Sorted(maps.Keys(others)) }

// TestSchemaOfOtherModules tests that the schema of a Caddy with these modules has their options
// with what they mean.
func TestSchemaOfOtherModules(t *testing.T) {
	definitions := schema.New()["definitions"].(map[string]any)
	for name, property := range map[string]string{
		"layer4.handlers by handler balance": "connect_timeout",
		"ballast.fleet by module redis":      "max_records",
		"ballast.sessions by module redis":   "max_entries",
	} {
		module, _ := definitions[name].(map[string]any)
		properties, _ := module["properties"].(map[string]any)
		described, _ := properties[property].(map[string]any)
		if text, _ := described["description"].(string); text == "" {
			t.Errorf("%s: %s has no description", name, property)
		}
	}
}
