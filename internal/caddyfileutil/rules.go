// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

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

// CheckName returns an error for an invalid name of a handler. Braces would be a placeholder that
// is never replaced.
func CheckName(name string) error {
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "{}") || !utf8.ValidString(name) {
		return fmt.Errorf("name must be readable text without braces, got %q", name)
	}
	return nil
}
