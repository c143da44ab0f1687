// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the common part of the conformance suites of the extension points:
// the rules of every guest module, of any kind. Only the suites, which run in tests, import it.
package conformance

import (
	"context"
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Module is a guest module under test.
type Module struct {
	// Namespace is the namespace of modules of its kind, such as ballast.checks.
	Namespace string
	// Caddyfile configures the module as a user does: its name, its arguments, and a block with
	// all of its options.
	Caddyfile string
}

// Name returns the name of the module, the first word of its Caddyfile.
func (m Module) Name() string {
	name, _, _ := strings.Cut(strings.TrimSpace(m.Caddyfile), " ")
	return name
}

// ID returns the module's id.
func (m Module) ID() string { return m.Namespace + "." + m.Name() }

// New returns a new module, as Caddy makes it.
func (m Module) New(t testing.TB) caddy.Module {
	t.Helper()
	info, err := caddy.GetModule(m.ID())
	if err != nil {
		t.Fatalf("%v; register it in an init function", err)
	}
	return info.New()
}

// Parse returns the module configured by Caddyfile tokens.
func (m Module) Parse(t testing.TB, tokens string) (caddy.Module, error) {
	t.Helper()
	mod := m.New(t)
	u, ok := mod.(caddyfile.Unmarshaler)
	if !ok {
		t.Fatalf("%T is no caddyfile.Unmarshaler, so that a Caddyfile cannot name it", mod)
	}
	return mod, u.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
}

// JSON returns the module's configuration in JSON.
func (m Module) JSON(t testing.TB, tokens string) json.RawMessage {
	t.Helper()
	mod, err := m.Parse(t, tokens)
	if err != nil {
		t.Fatalf("%s: %v", tokens, err)
	}
	raw, err := json.Marshal(mod)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Load loads the module as Caddy does, from JSON, and provisions it. It is cleaned up at the end
// of the test, or earlier by cleanUp.
func (m Module) Load(t testing.TB, tokens string) (mod any, cleanUp func()) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	mod, err := ctx.LoadModuleByID(m.ID(), m.JSON(t, tokens))
	if err != nil {
		t.Fatalf("%s: %v", tokens, err)
	}
	return mod, cancel
}

// Run checks the rules of every guest module.
func (m Module) Run(t *testing.T) {
	t.Run("module", func(t *testing.T) {
		mod := m.New(t)
		switch typ := reflect.TypeOf(mod); {
		case typ.Kind() != reflect.Pointer:
			t.Fatalf("New of %s must return a pointer, got %T", m.ID(), mod)
		case typ.Elem().Size() > 0 && reflect.ValueOf(mod).Pointer() == reflect.ValueOf(m.New(t)).Pointer():
			t.Errorf("New of %s must return a new %T each time", m.ID(), mod)
		}
		if id := mod.CaddyModule().ID; string(id) != m.ID() {
			t.Errorf("New of %s returns a module of id %s", m.ID(), id)
		}
	})
	t.Run("Caddyfile is strict", m.strict)
	t.Run("JSON", m.json)
}

// Refuses checks that tokens are refused with file and line.
func (m Module) Refuses(t *testing.T, tokens string) {
	t.Helper()
	switch _, err := m.Parse(t, tokens); {
	case err == nil:
		t.Errorf("accepts %q", tokens)
	case !strings.Contains(err.Error(), "Testfile:"):
		t.Errorf("%q: the error %q has no file and line; return d.Errf or d.WrapErr", tokens, err)
	}
}

// With returns the module's Caddyfile with further arguments, and options at the beginning of its
// block.
func (m Module) With(arguments, options string) string {
	head, block, found := strings.Cut(m.Caddyfile, "{")
	if !found {
		block = "\n}"
	}
	return strings.TrimSpace(head) + " " + arguments + " {\n" + options + block
}

// strict checks that unknown options and further arguments are refused.
func (m Module) strict(t *testing.T) {
	m.Refuses(t, m.With("", "no_such_option x"))
	m.Refuses(t, m.With(strings.Repeat("no_such_argument ", 5), ""))
}

// json checks that the configuration survives the round trip through JSON, and that unknown
// fields are refused.
func (m Module) json(t *testing.T) {
	raw := m.JSON(t, m.Caddyfile)
	want, _ := m.Parse(t, m.Caddyfile)
	got := m.New(t)
	if err := caddy.StrictUnmarshalJSON(raw, got); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s gives %+v, and the Caddyfile %+v", raw, got, want)
	}
	if err := caddy.StrictUnmarshalJSON([]byte(`{"no_such_field":1}`), m.New(t)); err == nil {
		t.Error("accepts an unknown field in JSON; UnmarshalJSON must be strict, or absent")
	}
	m.Load(t, m.Caddyfile)
}

// Goroutines returns a function that fails the test if there are goroutines that did not exist
// when Goroutines was called. It waits up to patience for those that are ending.
func Goroutines(t testing.TB) (check func(patience time.Duration)) {
	before := stacks()
	return func(patience time.Duration) {
		t.Helper()
		var left []string
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
			left = left[:0]
			for id, stack := range stacks() {
				if _, old := before[id]; !old {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("%d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
	}
}

// stacks returns the stacks of all goroutines by id.
func stacks() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		id, _, _ := strings.Cut(stack, " [")
		all[id] = stack
	}
	return all
}
