// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/url"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// root is where the routes of the API begin.
const root = "/ballast/"

// split returns the segments of an escaped path below root, unescaped, or false for
// one that no route has. Ids may have slashes, which must be escaped. None may lead
// elsewhere, since Caddy grants access to paths as they are when they are unescaped and
// cleaned.
func split(escaped string) (segments []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, root)
	if !ok {
		return nil, false
	}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" {
		return nil, true
	}
	for segment := range strings.SplitSeq(rest, "/") {
		text, err := url.PathUnescape(segment)
		if err != nil || text == "" || backend.Dotted(text) {
			return nil, false
		}
		segments = append(segments, text)
	}
	return segments, true
}

// join is the inverse of split.
func join(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return root + strings.Join(segments, "/")
}
