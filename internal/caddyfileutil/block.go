// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package caddyfileutil parses Caddyfile tokens strictly, for every UnmarshalCaddyfile method of
// this module. Whatever is unknown, repeated, missing, extra or out of bounds is an error with
// file and line that says what to write instead. Nothing is corrected silently.
package caddyfileutil

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Option parses one option. The dispenser is positioned on the option's name.
type Option func(d *caddyfile.Dispenser) error

// Options maps the names of the options of a block to their parsers.
type Options map[string]Option

// Block parses the rest of a module's segment: no further arguments on the current line, then an
// optional block. Every name in the block must be in opts, and may appear only once unless its
// key is made by [Repeat].
func Block(d *caddyfile.Dispenser, opts Options) error {
	owner := d.Val()
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q; options go in a block, one a line", d.Val(), owner)
	}
	seen := make(map[string]bool, len(opts))
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		parse, ok := opts[name]
		repeat := false
		if !ok {
			parse, repeat = opts[name+repeated]
		}
		if parse == nil || strings.HasSuffix(name, hinted) || strings.HasSuffix(name, repeated) {
			return opts.unrecognized(d)
		}
		if seen[name] && !repeat {
			return d.Errf("option %q is given twice; write it once", name)
		}
		seen[name] = true
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// Parse is [Block] with these options.
func (opts Options) Parse(d *caddyfile.Dispenser) error { return Block(d, opts) }

// repeated marks the keys of options that may appear more than once.
const repeated = "..."

// Repeat returns the key of an option that may appear more than once.
func Repeat(name string) string { return name + repeated }

// choice lists the options, for errors.
func (opts Options) choice() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(opts)) {
		if !strings.HasSuffix(name, hinted) {
			names = append(names, strings.TrimSuffix(name, repeated))
		}
	}
	if len(names) == 0 {
		return "there are no options here"
	}
	return "write one of: " + strings.Join(names, ", ")
}

// Head parses the name of a module and up to len(args) arguments after it. The block is left to
// [Block].
func Head(d *caddyfile.Dispenser, args ...*string) {
	d.Next() // name of the module
	for _, arg := range args {
		if !d.NextArg() {
			return
		}
		*arg = d.Val()
	}
}

// Valid returns opt with a check of its value. An error has the line of the option, whereas
// [Block] would use that of the closing brace.
func Valid(opt Option, check func() error) Option {
	return func(d *caddyfile.Dispenser) error {
		position := *d
		if err := opt(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return position.WrapErr(err)
		}
		return nil
	}
}

// Module returns the JSON of a guest module of namespace ns, keyed by inlineKey. The next
// argument is the name of the module. Errors call it kind. Modules named in not are refused.
func Module(d *caddyfile.Dispenser, ns, inlineKey, kind string, not ...string) (json.RawMessage, error) {
	return ModuleOf(d, []string{ns}, inlineKey, kind, not...)
}

// ModuleOf is like [Module] for a module of the first of several namespaces that has the name.
func ModuleOf(d *caddyfile.Dispenser, namespaces []string, inlineKey, kind string, not ...string) (json.RawMessage, error) {
	option := d.Val()
	if !d.NextArg() {
		return nil, d.Errf("%s: the name of a %s is missing; write one of: %s", option, kind, moduleNames(namespaces, not))
	}
	name := d.Val()
	if slices.Contains(not, name) {
		return nil, d.Errf("%s cannot be a %s here; write one of: %s", name, kind, moduleNames(namespaces, not))
	}
	ns, info, ok := findModule(namespaces, name)
	if !ok {
		return nil, d.Errf("unknown %s %q; write one of: %s", kind, name, moduleNames(namespaces, not))
	}
	if mod := info.New(); !unmarshals(mod) {
		return nil, d.Errf("%s %q cannot be written in a Caddyfile, since %T has no UnmarshalCaddyfile method; configure it in JSON", kind, name, mod)
	}
	unm, err := caddyfile.UnmarshalModule(d, ns+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(unm, inlineKey, name, nil), nil
}

func moduleNames(namespaces, not []string) string {
	var names []string
	for _, ns := range namespaces {
		for _, info := range caddy.GetModules(ns) {
			if name := info.ID.Name(); !slices.Contains(not, name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// findModule returns the module of a name, and the first namespace that has it.
func findModule(namespaces []string, name string) (ns string, info caddy.ModuleInfo, ok bool) {
	for _, ns := range namespaces {
		if info, err := caddy.GetModule(ns + "." + name); err == nil {
			return ns, info, true
		}
	}
	return "", info, false
}

func unmarshals(mod caddy.Module) bool {
	_, ok := mod.(caddyfile.Unmarshaler)
	return ok
}
