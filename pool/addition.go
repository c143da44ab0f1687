// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// Bounds of additions at run time, in addition to those of [backend.Settings].
const (
	maxAddress = 512 // bytes
	maxTTL     = 365 * 24 * time.Hour
)

// resolve returns the settings of an added backend, with the defaults of the pool. It makes the same checks as for a
// configured backend.
func (p *Pool) resolve(a *membership.Addition) (s backend.Endpoint, err error) {
	if err := a.CheckSize(); err != nil {
		return s, err
	}
	switch {
	case a.Address == "":
		return s, errors.New("the address is missing")
	case len(a.Address) > maxAddress:
		return s, fmt.Errorf("the address must have at most %d bytes, got %d", maxAddress, len(a.Address))
	case a.TTL < 0 || a.TTL > maxTTL:
		return s, fmt.Errorf("ttl must be from 0 to %v, got %v", maxTTL, a.TTL)
	}
	cfg := BackendConfig{Dial: a.Address, Settings: a.Settings}
	all, scheme, err := cfg.resolve(p.limit, p.limitFleet)
	if err == nil {
		err = p.checkFleet(all...)
	}
	if err != nil {
		return s, err
	}
	if len(all) != 1 {
		return s, fmt.Errorf("address %q is a range of %d backends; add one at a time", a.Address, len(all))
	}
	if name := all[0].Group; name != "" && p.Groups().Find(name) == nil {
		return s, fmt.Errorf("the pool has no group %q; %s", name, knownGroups(p.Groups()))
	}
	if own := cmp.Or(p.usesScheme(), "http"); scheme != "" && scheme != own {
		return s, fmt.Errorf("all backends of a pool must have the same scheme, got %s and %s; write %s", schemeName(scheme), schemeName(p.usesScheme()), all[0].Address)
	}
	return all[0], nil
}

// knownGroups says which groups a pool has.
func knownGroups(groups group.List) string {
	if len(groups) == 0 {
		return "it has none"
	}
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return "its groups are " + strings.Join(names, ", ")
}
