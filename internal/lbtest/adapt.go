// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
)

var update = flag.Bool("update", false, "rewrite golden files")

const separator = "----------\n"

// Adapt tests every golden file that matches glob: a Caddyfile, a line of dashes, then either its
// JSON or its error, without the modules that Caddy names before it. Between the lines of an error,
// text may be left out, such as a list of modules. JSON goldens must also provision, and an error
// may also come from provisioning. Run with -update to rewrite the goldens.
func Adapt(t *testing.T, glob string) {
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files match %s (%v)", glob, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { adaptFile(t, file) })
	}
}

func adaptFile(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in, want, _ := strings.Cut(strings.ReplaceAll(string(data), "\r\n", "\n"), separator)
	want = strings.TrimSpace(want)
	wantErr := want != "" && want[0] != '{'

	out, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(in), nil)
	if err == nil && wantErr {
		err = Validate(out)
	}
	switch {
	case err != nil && wantErr:
		got := strings.TrimSpace(where.ReplaceAllString(err.Error(), ""))
		if lines := strings.Split(want, "\n"); !states(got, lines) {
			if *update && len(lines) == 1 {
				writeGolden(t, file, in, got)
				return
			}
			t.Errorf("got error %q, want %q", got, lines)
		}
		return
	case err != nil:
		t.Fatal(err)
	case wantErr:
		t.Fatalf("accepted, want error %q", want)
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w) // usually because the input is not formatted
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "\t"); err != nil {
		t.Fatal(err)
	}
	got := withoutPositions(strings.TrimSpace(pretty.String()))
	if *update && got != want {
		writeGolden(t, file, in, got)
		want = got
	}
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := Validate(out); err != nil {
		t.Errorf("does not provision: %v", err)
	}
}

func writeGolden(t *testing.T, file, in, want string) {
	if err := os.WriteFile(file, []byte(in+separator+want+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// where matches Caddy's prefixes of an error of a module.
var where = regexp.MustCompile(`^(?:parsing caddyfile tokens for '[^']*': )+|^.*: provision [a-z0-9_.]+: `)

// states reports whether an error has the lines of a golden, with any text between them. So a
// golden has the file, the line and the advice.
func states(got string, lines []string) bool {
	rest, ok := strings.CutPrefix(got, strings.TrimSpace(lines[0]))
	for _, line := range lines[1:] {
		if ok {
			_, rest, ok = strings.Cut(rest, strings.TrimSpace(line))
		}
	}
	return ok && rest == ""
}

// Positions of directives matter only in errors, so goldens omit them.
var (
	lastPosition = regexp.MustCompile(`,\n\t*"(?:[a-z_]+_)?position": "[^"\n]*"(\n)`)
	position     = regexp.MustCompile(`\n\t*"(?:[a-z_]+_)?position": "[^"\n]*",`)
)

func withoutPositions(pretty string) string {
	return position.ReplaceAllString(lastPosition.ReplaceAllString(pretty, "$1"), "")
}

// Provisions checks that a Caddyfile adapts and provisions.
func Provisions(t *testing.T, filename string, caddyfile []byte) {
	t.Helper()
	out, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": filename})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	if err := Validate(out); err != nil {
		t.Errorf("does not provision: %v", err)
	}
}

// Validate provisions a JSON configuration without running it.
func Validate(config []byte) error {
	cfg := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, cfg); err != nil {
		return err
	}
	cfg.Admin = &caddy.AdminConfig{Disabled: true}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	return caddy.Validate(cfg)
}
