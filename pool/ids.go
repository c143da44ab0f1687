// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// checkID says what is wrong with the id of a backend, which is a segment of a path in
// the admin API, and told from others by eye in logs, metrics and on the page.
func checkID(id string) error {
	switch {
	case strings.TrimSpace(id) == "":
		return fmt.Errorf("id must not be blank, got %q; write a name, or no id for the address", id)
	case !backend.Readable(id):
		return fmt.Errorf("id must be readable text without control and format characters, got %q; write letters, digits and signs", id)
	case strings.TrimSpace(id) != id:
		return fmt.Errorf("id must not begin or end with white space, got %q; write %q", id, strings.TrimSpace(id))
	case backend.Dotted(id):
		return fmt.Errorf(`id must not have a "." or ".." between slashes, which clients remove from paths, got %q; write another`, id)
	case hasEmptyPart(id) && !isAddress(id):
		return fmt.Errorf("id must not begin or end with a slash or have two in a row, which clients make one in paths, got %q; write another", id)
	}
	return nil
}

func hasEmptyPart(id string) bool {
	return strings.Contains("/"+id+"/", "//")
}

// isAddress reports whether an id is an address as backends without an id have it.
func isAddress(id string) bool {
	dials, _, err := parseAddress(id)
	return err == nil && len(dials) == 1 && dials[0] == id
}

// checkAddressAsID says what is wrong with an address of a backend that has no id. What
// sources have found is not asked: nobody could write it differently.
func checkAddressAsID(address string) error {
	if backend.Readable(address) && !backend.Dotted(address) {
		return nil
	}
	return fmt.Errorf(`the address is the id, and must not have control and format characters, or a "." or ".." between slashes; write the path without them, or an id, got %q`, address)
}
