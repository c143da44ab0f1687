// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// one returns the only argument of the current option.
func one(d *caddyfile.Dispenser, what string) (string, error) {
	name := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s: %s is missing; write %s <%s>", name, what, name, what)
	}
	val := d.Val()
	if d.NextArg() {
		return "", d.Errf("%s: unexpected argument %q; write %s <%s>", name, d.Val(), name, what)
	}
	return val, NoBlock(d, name)
}

// NoBlock refuses a block after an option that has none.
func NoBlock(d *caddyfile.Dispenser, name string) error {
	if next := *d; next.Next() && next.Val() == "{" && !next.Token().Quoted() {
		return d.Errf("%s has no block; remove the braces", name)
	}
	return nil
}

// Off parses opt, or the word off, for which it calls off.
func Off(opt Option, off func()) Option {
	return func(d *caddyfile.Dispenser) error {
		position := *d
		name := d.Val()
		if d.NextArg() && d.Val() == "off" {
			if d.NextArg() {
				return d.Errf("%s off takes no further arguments, got %q", name, d.Val())
			}
			off()
			return NoBlock(d, name)
		}
		*d = position
		return opt(d)
	}
}

// String stores one argument in dst. It refuses {env.*} and other global placeholders: the
// option would have the placeholder itself as its value.
func String(dst *string) Option { return text(dst, fixed) }

// Replaced is [String] for an option whose global placeholders are replaced at run time.
func Replaced(dst *string) Option { return text(dst, replaced) }

// replacement reports whether placeholders in the arguments of an option are replaced at run time.
type replacement bool

const (
	fixed    replacement = false
	replaced replacement = true
)

// check refuses global placeholders that are not replaced.
func (r replacement) check(d *caddyfile.Dispenser, name string, args ...string) error {
	for _, arg := range args {
		if r == replaced || !HasGlobal(arg) {
			continue
		}
		instead := "the value itself"
		if text := Environment(arg); text != "" && !HasGlobal(text) {
			instead = text + ", which is replaced when the Caddyfile is read"
		}
		return d.Errf("%s must not have run-time placeholders, got %q; write %s", name, arg, instead)
	}
	return nil
}

// CheckFixed refuses placeholders in an argument that was parsed elsewhere, as [String] does.
func CheckFixed(d *caddyfile.Dispenser, name, arg string) error { return fixed.check(d, name, arg) }

func text(dst *string, r replacement) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, "text")
		if err != nil {
			return err
		}
		*dst = val
		return r.check(d, name, val)
	}
}

// Strings appends all arguments, at least one, to dst. It refuses placeholders, as [String] does.
func Strings(dst *[]string) Option { return texts(dst, fixed) }

// ReplacedStrings is [Strings] for an option whose global placeholders are replaced at run time.
func ReplacedStrings(dst *[]string) Option { return texts(dst, replaced) }

func texts(dst *[]string, r replacement) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s: an argument is missing; write at least one", name)
		}
		*dst = append(*dst, args...)
		if err := r.check(d, name, args...); err != nil {
			return err
		}
		return NoBlock(d, name)
	}
}

// Flag sets dst to true. The option has no argument.
func Flag(dst *bool) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if d.NextArg() {
			return d.Errf("%s: unexpected argument %q; the option takes no arguments", name, d.Val())
		}
		*dst = true
		return NoBlock(d, name)
	}
}

// Pair stores two arguments as a key and a value in dst, which must not be nil. A key must not be
// repeated. It refuses placeholders, as [String] does.
func Pair(dst map[string]string) Option { return pair(dst, fixed) }

// ReplacedPair is [Pair] for an option whose global placeholders in values are replaced at run time.
func ReplacedPair(dst map[string]string) Option { return pair(dst, replaced) }

func pair(dst map[string]string, r replacement) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Errf("%s takes a key and a value; write %s <key> <value>", name, name)
		}
		if _, ok := dst[args[0]]; ok {
			return d.Errf("%s %q is given twice; write it once", name, args[0])
		}
		dst[args[0]] = args[1]
		if err := r.check(d, name, args...); err != nil {
			return err
		}
		return NoBlock(d, name)
	}
}
