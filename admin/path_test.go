// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// Whatever an id is made of, its path leads to it.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "unix//run/x.sock", "[::1]:80", "a b%2F", "..", "a/../b", "ü", "\x00"} {
		f.Add("web", seed)
	}
	f.Fuzz(func(t *testing.T, name, id string) {
		got, ok := split(join("pools", name, "backends", id))
		if name == "" || id == "" || names.Dotted(name) || names.Dotted(id) || !utf8.ValidString(name+id) {
			return
		}
		if !ok || !slices.Equal(got, []string{"pools", name, "backends", id}) {
			t.Errorf("%q, %q: got %q", name, id, got)
		}
	})
}
