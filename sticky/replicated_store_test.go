// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/sticky"
	"github.com/ballast-lb/caddy-ballast/sticky/storetest"
)

func init() { caddy.RegisterModule(new(replicatedStore)) }

// replicatedStore is a store over a fleet of its own, as modules of other repositories may be.
type replicatedStore struct{ sticky.Memory }

var ownFleet = fleet.New("own")

func (*replicatedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.replicated", New: func() caddy.Module { return new(replicatedStore) }}
}

func (s *replicatedStore) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	return sticky.Replicated(ownFleet, scope, l, s.MaxEntries), nil
}

func TestReplicatedSessionsConform(t *testing.T) {
	storetest.Run(t, storetest.Store{Caddyfile: "replicated 200000"})
}
