// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// checkID returns an error if the id of a backend is invalid. An id is a segment of a path in
// the admin API, and readers tell ids apart by eye in logs, metrics and the dashboard.
func checkID(id string) error {
	switch {
	case strings.TrimSpace(id) == "":
		return fmt.Errorf("id must not be blank, got %q; write a name, or omit the id to use the address", id)
	case !names.Readable(id):
		return fmt.Errorf("id must be readable text without control and format characters, got %q; write letters, digits and punctuation", id)
	case strings.TrimSpace(id) != id:
		return fmt.Errorf("id must not begin or end with white space, got %q; write %q", id, strings.TrimSpace(id))
	case names.Dotted(id):
		return fmt.Errorf(`id must not have a "." or ".." between slashes, since clients remove them from paths, got %q; write another`, id)
	case hasEmptyPart(id) && !isAddress(id):
		return fmt.Errorf("id must not begin or end with a slash or contain two in a row, since clients merge them in paths, got %q; write another", id)
	}
	return nil
}

func hasEmptyPart(id string) bool {
	return strings.Contains("/"+id+"/", "//")
}

// isAddress reports whether an id has the form of an address, the default id.
func isAddress(id string) bool {
	dials, _, err := parseAddress(id)
	return err == nil && len(dials) == 1 && dials[0] == id
}

// checkAddressAsID returns an error if the address of a backend without an id is not a valid id. It is not called
// for discovered addresses, which the user cannot change.
func checkAddressAsID(address string) error {
	if names.Readable(address) && !names.Dotted(address) {
		return nil
	}
	return fmt.Errorf(`the address is the id, and must not have control and format characters, or a "." or ".." between slashes; write the path without them, or an id, got %q`, address)
}
