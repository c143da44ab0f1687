// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Tokens skips a fuzz test whose input is not a Caddyfile: one that is not valid UTF-8, which Caddy
// does not check, or one with unterminated quotes or heredocs, which Caddy rejects before any
// module parses it.
func Tokens(t testing.TB, tokens string) {
	t.Helper()
	if !utf8.ValidString(tokens) {
		t.Skip("not valid UTF-8, which Caddy does not check")
	}
	if _, err := caddyfile.Tokenize([]byte(tokens), "Testfile"); err != nil {
		t.Skip("no Caddyfile:", err)
	}
}

// RoundTrip tests that the configuration that a module accepts from Caddyfile tokens round-trips
// through JSON, field by field.
func RoundTrip(t testing.TB, moduleID, tokens string) {
	t.Helper()
	info, err := caddy.GetModule(moduleID)
	if err != nil {
		t.Fatal(err)
	}
	mod := info.New()
	if mod.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)) != nil {
		return
	}
	enc, err := json.Marshal(mod)
	if err != nil {
		t.Fatal(err)
	}
	again := info.New()
	if err := caddy.StrictUnmarshalJSON(enc, again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(mod, again) {
		t.Errorf("%s: %+v != %+v", enc, mod, again)
	}
}
