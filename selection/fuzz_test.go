// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// A policy that the parser accepts must round-trip through JSON.
func FuzzUnmarshalPolicy(f *testing.F) {
	for _, seed := range []string{
		"p", "p 2", "p 100 {\n weights 1 2 3\n}", "p {\n weights 0 65535\n}", "p {\n weights\n}", "p 1", "p a b", "p {\n weights -1\n}",
		"p client_ip", "p header X {\n bounded_load 1.25\n min_ring 9\n fallback p2c 3 {\n weights 1\n }\n}", "p {host}", "p query q {\n fallback maglev uri\n}",
		"p uri {\n bounded_load NaN\n}", "p cookie", "p uri {\n fallback random\n}",
		"p {\n weights 1 {\n a\n }\n}", "p {\n weights 1\n weights 2\n}", "p {", "p }",
	} {
		f.Add(seed)
	}
	all := policies(f)
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		for name, newPolicy := range all {
			lbtest.RoundTrip(t, namespace+name, tokens)
			// Accepted options are within their bounds.
			mod := newPolicy()
			if mod.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)) != nil {
				continue
			}
			if p, ok := mod.(*P2C); ok && p.Choices != 0 && choiceCounts.Check("choices", p.Choices) != nil {
				t.Errorf("%s has %d choices", name, p.Choices)
			}
			if p, ok := mod.(*RingHash); ok && (p.MinRing != 0 && minRings.Check("min_ring", p.MinRing) != nil || p.BoundedLoad != 0 && loadFactors.Check("bounded_load", p.BoundedLoad) != nil) {
				t.Errorf("%s has min_ring %d and bounded_load %v", name, p.MinRing, p.BoundedLoad)
			}
		}
	})
}
