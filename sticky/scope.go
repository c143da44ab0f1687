// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import "strings"

// scope is whose sessions they are: those of another scope are none.
type scope struct {
	// named says that the name is that of a pool which an operator has named.
	named bool
	// name is that of the pool, else what stands for the pool or the list here.
	name string
}

// String returns the scope as stores know it.
func (s scope) String() string {
	if s.named {
		return s.name
	}
	return "\n" + s.name // no pool has such a name
}

// label returns the scope for people.
func (s scope) label() string {
	label, _, _ := strings.Cut(s.name, "\n")
	return label
}

// ofCookies returns the scope of cookies. What stands for a pool without a name may
// be something else on another instance, or after a change of the configuration: all
// of them share a scope, and the ids of their backends tell them apart.
func (s scope) ofCookies() string {
	if s.named {
		return s.name
	}
	return ""
}
