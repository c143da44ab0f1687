// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// The rules below are those of options with bounds. One rule serves both forms of the
// configuration: Option and Parse read a Caddyfile, Check tests a value from JSON, and their
// errors are the same.

// rule is a range of values. Its text, as String returns it, follows "must be" in errors.
type rule[T any] interface {
	fmt.Stringer
	parse(val string) (v T, ok bool)
}

// parse applies the rule to an argument.
func parse[T any](r rule[T], name, val string) (T, error) {
	v, ok := r.parse(val)
	if ok {
		return v, nil
	}
	err := fmt.Errorf("%s must be %s, got %q", name, r, val)
	if instead := Environment(val); instead != "" {
		err = fmt.Errorf("%w; write %s, which is replaced when the Caddyfile is read", err, instead)
	}
	return v, err
}

// option is an option with one argument, called what in errors, for which the rule holds.
func option[T any](r rule[T], what string, set func(T)) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		val, err := one(d, what)
		if err != nil {
			return err
		}
		v, err := parse(r, name, val)
		if err != nil {
			return d.WrapErr(err)
		}
		set(v)
		return nil
	}
}

// Ints is a range of whole numbers.
type Ints struct {
	// Min and Max are the least and the greatest number. Max may be [math.MaxInt] for none.
	Min, Max int
}

// Option stores one number in dst.
func (r Ints) Option(dst *int) Option {
	return option(r, "number", func(n int) { *dst = n })
}

// Pointer is like Option, for options where zero differs from absence.
func (r Ints) Pointer(dst **int) Option {
	return option(r, "number", func(n int) { *dst = &n })
}

// Parse applies the rule to an argument of the named option.
func (r Ints) Parse(name, val string) (int, error) { return parse(r, name, val) }

// Check applies the rule to a number in JSON.
func (r Ints) Check(name string, n int) error {
	if n < r.Min || n > r.Max {
		return fmt.Errorf("%s must be %s, got %d", name, r, n)
	}
	return nil
}

func (r Ints) parse(val string) (int, bool) {
	n, err := strconv.Atoi(val)
	return n, err == nil && n >= r.Min && n <= r.Max
}

// String describes the range, for errors.
func (r Ints) String() string {
	if r.Max == math.MaxInt {
		return fmt.Sprintf("a whole number of at least %d", r.Min)
	}
	return fmt.Sprintf("a whole number from %d to %d", r.Min, r.Max)
}

// Floats is a range of numbers.
type Floats struct {
	// Min and Max are the bounds. They belong to the range unless Above or Below is set.
	Min, Max float64
	// Above and Below exclude Min and Max.
	Above, Below bool
	// Ratio is set for shares, which a Caddyfile has in percent: 34% is 0.34.
	Ratio bool
	// Off is set if the option may be off, which is 0 in JSON.
	Off bool
	// Such is a sensible value, for errors. It is not used for ratios.
	Such float64
	// Note is said after the range in errors.
	Note string
}

// AnyRatio is the range of ratios from 0% to 100%.
var AnyRatio = Floats{Max: 1, Ratio: true}

// Option stores one number in dst, and 0 for off.
func (r Floats) Option(dst *float64) Option {
	opt := option(r, r.kind(), func(f float64) { *dst = f })
	if r.Off {
		return Off(opt, func() { *dst = 0 })
	}
	return opt
}

// Pointer is like Option, for options where zero differs from absence.
func (r Floats) Pointer(dst **float64) Option {
	return func(d *caddyfile.Dispenser) error {
		f := new(float64)
		err := r.Option(f)(d)
		if err == nil {
			*dst = f
		}
		return err
	}
}

// Parse applies the rule to an argument of the named option.
func (r Floats) Parse(name, val string) (float64, error) { return parse(r, name, val) }

// Check applies the rule to a number in JSON.
func (r Floats) Check(name string, f float64) error {
	switch {
	case r.contain(f) || r.Off && f == 0:
		return nil
	case r.Ratio:
		return fmt.Errorf("%s must be %s, got %v; in JSON, 34%% is 0.34", name, r, f)
	}
	return fmt.Errorf("%s must be %s, got %v", name, r, f)
}

func (r Floats) parse(val string) (float64, bool) {
	num, percent := strings.CutSuffix(val, "%")
	f, err := strconv.ParseFloat(num, 64)
	if r.Ratio {
		f /= 100
	}
	return f, err == nil && percent == r.Ratio && r.contain(f)
}

// contain reports whether f, which may be NaN, is in the range.
func (r Floats) contain(f float64) bool {
	return (f > r.Min || f == r.Min && !r.Above) && (f < r.Max || f == r.Max && !r.Below)
}

func (r Floats) kind() string {
	if r.Ratio {
		return "ratio"
	}
	return "number"
}

// String describes the range, for errors.
func (r Floats) String() string {
	format := func(f float64) string {
		if r.Ratio {
			return fmt.Sprintf("%v%%", 100*f)
		}
		return fmt.Sprint(f)
	}
	text := "a " + r.kind()
	switch low, high := format(r.Min), format(r.Max); {
	case r.Above && r.Below:
		text += " above " + low + " and below " + high
	case r.Above:
		text += " above " + low + " and at most " + high
	default:
		text += " from " + low + " to " + high
	}
	if !r.Ratio {
		text += " such as " + format(r.Such)
	}
	if r.Off {
		text += ", or off"
	}
	return text + r.Note
}

// Sizes is a range of numbers of bytes, such as 512, 64KB or 1MiB.
type Sizes struct {
	// Max is the greatest size. The least is 1.
	Max int64
}

// Option stores one size in dst.
func (r Sizes) Option(dst *Size) Option {
	return option(r, "size", func(n Size) { *dst = n })
}

// Check applies the rule to a number of bytes in JSON.
func (r Sizes) Check(name string, n Size) error {
	if n < 1 || int64(n) > r.Max {
		return fmt.Errorf("%s must be %s, got %d", name, r, n)
	}
	return nil
}

func (r Sizes) parse(val string) (Size, bool) {
	n, err := humanize.ParseBytes(val)
	return Size(n), err == nil && n >= 1 && n <= uint64(r.Max)
}

// String describes the range, for errors.
func (r Sizes) String() string {
	return fmt.Sprintf("a size from 1 byte to %s such as 512KB or 1MB", humanize.Bytes(uint64(r.Max)))
}

// Words are the words that an option may have.
type Words []string

// Option stores one of the words in dst.
func (r Words) Option(dst *string) Option {
	return option(r, strings.Join(r, "|"), func(word string) { *dst = word })
}

// Check applies the rule to a word in JSON, where "" means the default.
func (r Words) Check(name, word string) error {
	if word != "" && !slices.Contains(r, word) {
		return fmt.Errorf("%s must be %s, got %q", name, r, word)
	}
	return nil
}

func (r Words) parse(val string) (string, bool) { return val, slices.Contains(r, val) }

// String lists the words, for errors.
func (r Words) String() string {
	last := len(r) - 1
	return strings.Join(r[:last], ", ") + " or " + r[last]
}
