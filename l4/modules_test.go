// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Whoever adds the handler gets the modules that Caddy was tested with, at the versions that it was tested
// with, but for those of which caddy-l4 itself requires newer ones. Caddy links these, but they are no part
// of serving: fsnotify watches the configuration file, regexp2 highlights code.
func TestRaisesNoModule(t *testing.T) {
	lbtest.RaisesNoModule(t, "github.com/fsnotify/fsnotify", "github.com/dlclark/regexp2")
}
