// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "strings"

// scope identifies the pool or the list of upstreams of a session. Sessions of different scopes
// are separate.
type scope struct {
	// named is set for a pool with a configured name.
	named bool
	// name is the name of the pool, or an identity of the unnamed pool or of the list.
	name string
}

// String returns the scope in the form for stores.
func (s scope) String() string {
	if s.named {
		return s.name
	}
	return "\n" + s.name // no name of a pool begins with a newline
}

// label returns the scope in the form for log messages.
func (s scope) label() string {
	label, _, _ := strings.Cut(s.name, "\n")
	return label
}

// ofCookies returns the scope of cookies. The identity of an unnamed pool may differ on another
// instance, or after a change of the configuration, so all unnamed pools share one scope, and
// the ids of the backends distinguish them.
func (s scope) ofCookies() string {
	if s.named {
		return s.name
	}
	return ""
}
