// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/version"
)

// versions returns the versions of Caddy and Ballast, for the other instances.
var versions = sync.OnceValue(func() string {
	text := "Caddy " + version.Caddy()
	if own := version.Ballast(); own != "" {
		text += ", Ballast " + own
	}
	return text[:min(len(text), 100)]
})
