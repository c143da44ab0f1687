// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"runtime/debug"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

const modulePath = "github.com/ballast-lb/caddy-ballast"

// version returns the versions of Caddy and Ballast, for the other instances.
var version = sync.OnceValue(func() string {
	simple, _ := caddy.Version()
	all := []string{"Caddy " + simple}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Version != "" {
				all = append(all, "Ballast "+m.Version)
				break
			}
		}
	}
	text := strings.Join(all, ", ")
	return text[:min(len(text), 100)]
})
