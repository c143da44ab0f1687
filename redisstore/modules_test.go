// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Whoever adds the store gets the modules that Caddy was tested with, at the versions that it was
// tested with.
func TestRaisesNoModule(t *testing.T) { lbtest.RaisesNoModule(t) }
