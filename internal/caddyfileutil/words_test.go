// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Placeholders with a value are replaced, and nothing else in braces is.
func TestGlobal(t *testing.T) {
	t.Setenv("BALLAST_WORD", "word")
	t.Setenv("BALLAST_EMPTY", "")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"": "", "text": "text", `{"a": {"b": 1}}`: `{"a": {"b": 1}}`, "{http.request.host} {x} \\{y\\} {": "{http.request.host} {x} \\{y\\} {",
		"{env.BALLAST_WORD}": "word", "a {env.BALLAST_WORD}{env.BALLAST_WORD} b": "a wordword b", "{file." + file + "}": "of the file",
	} {
		if got, err := Global("option", text); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
		if HasGlobal(text) != (text != want) {
			t.Errorf("%q: HasGlobal is %v", text, HasGlobal(text))
		}
	}
	for _, text := range []string{"{env.BALLAST_EMPTY}", "a{env.BALLAST_UNSET}b", "{file./nonesuch}"} {
		if _, err := Global("option", text); err == nil || !strings.HasPrefix(err.Error(), "option must not have placeholders without a value, got {") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestReplaced(t *testing.T) {
	var (
		one  string
		many []string
		keys = make(map[string]string)
	)
	d := caddyfile.NewTestDispenser("m {\n one {env.A}\n many {env.B} c\n pair k {env.C}\n}")
	Head(d)
	err := Block(d, Options{"one": Replaced(&one), "many": ReplacedStrings(&many), "pair": ReplacedPair(keys)})
	if err != nil || one != "{env.A}" || strings.Join(many, " ") != "{env.B} c" || keys["k"] != "{env.C}" {
		t.Errorf("%v: %q, %q, %q", err, one, many, keys)
	}
}
