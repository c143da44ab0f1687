// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Whatever an id is made of, its path leads to it.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "unix//run/x.sock", "[::1]:80", "a b%2F", "..", "a/../b", "ü", "\x00"} {
		f.Add("web", seed)
	}
	f.Fuzz(func(t *testing.T, pool, id string) {
		got, ok := split(join("pools", pool, "backends", id))
		if pool == "" || id == "" || backend.Dotted(pool) || backend.Dotted(id) || !utf8.ValidString(pool+id) {
			return
		}
		if !ok || !slices.Equal(got, []string{"pools", pool, "backends", id}) {
			t.Errorf("%q, %q: got %q", pool, id, got)
		}
	})
}
