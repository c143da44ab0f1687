// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/url"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// root is the path prefix of the API.
const root = "/ballast/"

// split returns the unescaped segments of an escaped path below root, or false if it cannot
// be a route. Ids may contain escaped slashes. A segment must not lead elsewhere: Caddy's
// access control compares paths after unescaping and cleaning.
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
		if err != nil || text == "" || names.Dotted(text) {
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
