// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"math"
	"slices"
	"strconv"
	"strings"

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
	at := *d
	if nesting := d.Nesting(); d.NextBlock(nesting) {
		return at.Errf("%s has no block; remove the braces", name)
	}
	return nil
}

// Int stores one integer from min to max in dst.
func Int(dst *int, min, max int) Option {
	return func(d *caddyfile.Dispenser) error {
		n, err := integer(d, min, max)
		if err == nil {
			*dst = n
		}
		return err
	}
}

// IntPtr is like [Int], for options where zero differs from absence.
func IntPtr(dst **int, min, max int) Option {
	return func(d *caddyfile.Dispenser) error {
		n, err := integer(d, min, max)
		if err == nil {
			*dst = &n
		}
		return err
	}
}

func integer(d *caddyfile.Dispenser, min, max int) (int, error) {
	name := d.Val()
	val, err := one(d, "number")
	if err != nil {
		return 0, err
	}
	n, err := ParseInt(name, val, min, max)
	if err != nil {
		return 0, d.WrapErr(err)
	}
	return n, nil
}

// Size stores a number of bytes from 1 to max in dst.
func Size(dst *int64, max int64) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, "size")
		if err != nil {
			return err
		}
		n, err := ParseSize(name, val, max)
		if err != nil {
			return d.WrapErr(err)
		}
		*dst = n
		return nil
	}
}

// Ratio stores a ratio from 0% to 100% in dst: 34% as 0.34.
func Ratio(dst **float64) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, "ratio")
		if err != nil {
			return err
		}
		f, err := ParseRatio(name, val)
		if err != nil {
			return d.WrapErr(err)
		}
		*dst = &f
		return nil
	}
}

// Fraction stores a number above 0 and below 1, such as 0.84, in dst.
func Fraction(dst *float64) Option {
	return number(dst, "a number above 0 and below 1 such as 0.84", func(f float64) bool { return f > 0 && f < 1 })
}

// Float stores one finite number in dst.
func Float(dst *float64) Option {
	return number(dst, "a number such as 1.5", func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) })
}

// number stores one number for which ok returns true in dst. Errors name what is wanted.
func number(dst *float64, wanted string, ok func(float64) bool) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, "number")
		if err != nil {
			return err
		}
		f, err := strconv.ParseFloat(val, 64)
		if err != nil || !ok(f) {
			return d.Errf("%s must be %s, got %q", name, wanted, val)
		}
		*dst = f
		return nil
	}
}

// Off parses opt, or the word off, for which it calls off.
func Off(opt Option, off func()) Option {
	return func(d *caddyfile.Dispenser) error {
		at := *d
		name := d.Val()
		if d.NextArg() && d.Val() == "off" {
			if d.NextArg() {
				return d.Errf("%s off takes no further arguments, got %q", name, d.Val())
			}
			off()
			return NoBlock(d, name)
		}
		*d = at
		return opt(d)
	}
}

// String stores one argument in dst.
func String(dst *string) Option {
	return func(d *caddyfile.Dispenser) error {
		val, err := one(d, "text")
		if err == nil {
			*dst = val
		}
		return err
	}
}

// Strings appends all arguments, at least one, to dst.
func Strings(dst *[]string) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s: an argument is missing; write at least one", name)
		}
		*dst = append(*dst, args...)
		return NoBlock(d, name)
	}
}

// Enum stores one of the given words in dst.
func Enum(dst *string, words ...string) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, strings.Join(words, "|"))
		if err != nil {
			return err
		}
		if !slices.Contains(words, val) {
			return d.Errf("%s must be %s, got %q", name, strings.Join(words, " or "), val)
		}
		*dst = val
		return nil
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
// repeated.
func Pair(dst map[string]string) Option {
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
		return NoBlock(d, name)
	}
}
