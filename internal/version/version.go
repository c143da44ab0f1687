// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package version tells the versions of this program.
package version

import (
	"runtime/debug"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

const modulePath = "github.com/ballast-lb/caddy-ballast"

// Caddy returns the version of Caddy.
func Caddy() string {
	simple, _ := caddy.Version()
	return simple
}

// Ballast returns the version of this module, such as v1.2.3 or (devel); empty if the build has none.
var Ballast = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath {
				return m.Version
			}
		}
	}
	return ""
})
