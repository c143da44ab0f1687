// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// ParseInt applies the rule of [Int] to an argument parsed elsewhere.
func ParseInt(name, val string, min, max int) (int, error) {
	n, err := strconv.Atoi(val)
	if err != nil || n < min || n > max {
		if max == math.MaxInt {
			return 0, fmt.Errorf("%s must be a whole number of at least %d, got %q", name, min, val)
		}
		return 0, fmt.Errorf("%s must be a whole number from %d to %d, got %q", name, min, max, val)
	}
	return n, nil
}

// OneOrTwo is an option with one or two arguments, which parse receives. synopsis is the error
// for another number of arguments.
func OneOrTwo(synopsis string, parse func(args []string) error) Option {
	return func(d *caddyfile.Dispenser) error {
		name, args := d.Val(), d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.Err(synopsis)
		}
		if err := NoBlock(d, name); err != nil {
			return err
		}
		if err := parse(args); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// ParseRatio applies the rule of [Ratio] to an argument parsed elsewhere.
func ParseRatio(name, val string) (float64, error) {
	num, percent := strings.CutSuffix(val, "%")
	f, err := strconv.ParseFloat(num, 64)
	if !percent || err != nil || !(f >= 0 && f <= 100) {
		return 0, fmt.Errorf("%s must be a ratio from 0%% to 100%%, got %q", name, val)
	}
	return f / 100, nil
}

// ParseSize parses a number of bytes from 1 to max, such as 512, 64KB or 1MiB.
func ParseSize(name, val string, max int64) (int64, error) {
	n, err := humanize.ParseBytes(val)
	if err != nil || n < 1 || n > uint64(max) {
		return 0, fmt.Errorf("%s must be a size from 1 byte to %s such as 512KB or 1MB, got %q", name, humanize.Bytes(uint64(max)), val)
	}
	return int64(n), nil
}

// CheckName returns an error for an invalid name of a handler. Braces would be a placeholder that
// is never replaced.
func CheckName(name string) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "{}") || !utf8.ValidString(name) {
		return fmt.Errorf("name must be readable text without braces, got %q", name)
	}
	return nil
}
