// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Position is the file and line of a directive in the Caddyfile, such as Caddyfile:7. It is part
// of the module's JSON configuration, because some errors are found in Provision; a position
// stored elsewhere might belong to another configuration. It is empty for configurations written
// in JSON.
type Position string

// PositionOf returns the position of the current token.
func PositionOf(d *caddyfile.Dispenser) Position {
	return Position(fmt.Sprintf("%s:%d", d.File(), d.Line()))
}

// placed is an error with its position.
type placed struct {
	error
	position Position
}

func (e placed) Error() string { return fmt.Sprintf("%v, at %s", e.error, e.position) }
func (e placed) Unwrap() error { return e.error }

// Wrap adds the position to err, which may be nil. If err has a position already, that one is
// more exact and stays.
func (p Position) Wrap(err error) error {
	if err == nil || p == "" || errors.As(err, new(placed)) {
		return err
	}
	return placed{err, p}
}
