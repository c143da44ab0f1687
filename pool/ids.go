// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
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

// checkFixed returns an error for a placeholder in a text of a configured backend: it would be taken literally. In a
// Caddyfile the parser refuses it, with what to write there.
func checkFixed(s *backend.Settings) error {
	texts := []string{"id", s.ID, "zone", s.Zone, "instance", s.Instance}
	for _, key := range slices.Sorted(maps.Keys(s.Meta)) {
		texts = append(texts, "meta", key, "meta", s.Meta[key])
	}
	for pair := range slices.Chunk(texts, 2) {
		if caddyfileutil.HasGlobal(pair[1]) {
			return fmt.Errorf("%s must not have run-time placeholders, got %q; write the value itself", pair[0], pair[1])
		}
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
