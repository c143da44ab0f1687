// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// A value of the wrong type is said by its name in JSON, in every module.
func TestJSONTypeErrors(t *testing.T) {
	for id, config := range map[string]string{
		"ballast": `{"pools": {"web": {"panic": "half"}}}`,
	} {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		err = caddy.StrictUnmarshalJSON([]byte(config), info.New())
		if want := "pools.panic must be a number, got string"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	seen := 0
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(id, "ballast.checks.") {
			continue // decoded before the pool loads it: see below
		}
		mod := info.New()
		typ := reflect.TypeOf(mod)
		if typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct || !strings.HasPrefix(typ.Elem().PkgPath(), module) || strings.Contains(typ.Elem().PkgPath(), "lbtest") || strings.HasSuffix(typ.Elem().PkgPath(), "_test") {
			continue
		}
		for _, f := range reflect.VisibleFields(typ.Elem()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "" || name == "-" || f.Type.Kind() == reflect.Interface || strings.Contains(f.Type.String(), "RawMessage") || strings.Contains(f.Type.String(), "ModuleMap") {
				continue
			}
			seen++
			for _, value := range []string{`[[]]`, `{"x": 1}`, `true`} {
				err := caddy.StrictUnmarshalJSON([]byte(`{"`+name+`": `+value+`}`), info.New())
				if err != nil && (strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "json: cannot")) {
					t.Errorf("%s, %s: %v", id, name, err)
				}
			}
		}
		if err := caddy.StrictUnmarshalJSON([]byte(`{"no_such_field": 1}`), info.New()); typ.Elem().NumField() > 0 && (err == nil || !strings.Contains(err.Error(), `unknown field "no_such_field"`)) {
			t.Errorf("%s: got %v", id, err)
		}
	}
	if seen < 60 {
		t.Errorf("looked at %d fields only", seen)
	}
	for check, want := range map[string]string{
		`{"check": "tcp", "interval": true}`:        `health: tcp: interval must be a string such as "2s", got bool`,
		`{"check": "http", "expect_status": "2xx"}`: "health: http: expect_status must be an array, got string",
		`{"check": "agent", "port": "80"}`:          "health: agent: port must be a whole number, got string",
	} {
		err := lbtest.Validate([]byte(`{"apps": {"ballast": {"pools": {"web": {"health": [` + check + `]}}}}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", check, err, want)
		}
	}
}

// What the Caddyfile refuses to read, and would be taken literally or not at all, is refused in JSON, too.
func TestJSONContradictions(t *testing.T) {
	for pool, want := range map[string]string{
		`"backends": [{"dial": "a:1", "id": "{env.HOST}-1"}]`:                                                      `backend a:1: id must not have run-time placeholders, got "{env.HOST}-1"; write the value itself`,
		`"backends": [{"dial": "a:1", "zone": "{env.ZONE}"}]`:                                                      "zone must not have run-time placeholders",
		`"groups": [{"name": "g", "share": 0.1, "backends": [{"dial": "a:1", "meta": {"rack": "{file./rack}"}}]}]`: "meta must not have run-time placeholders",
		`"backends": [{"dial": "a:1"}], "outliers": {"off": true, "consecutive_errors": 3}`:                        "outliers: off excludes all other options; write one or the other",
	} {
		err := lbtest.Validate([]byte(`{"apps": {"ballast": {"pools": {"web": {` + pool + `}}}}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", pool, err, want)
		}
	}
	if err := lbtest.Validate([]byte(`{"apps": {"ballast": {"pools": {"web": {"backends": [{"dial": "a:1", "id": "{1}"}], "outliers": {"off": true}}}}}}`)); err != nil {
		t.Error(err)
	}
}
