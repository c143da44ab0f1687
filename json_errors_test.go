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
