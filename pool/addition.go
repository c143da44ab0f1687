// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// Bounds of additions at run time, beyond those of configured backends.
const (
	maxText = 512 // bytes of an id, a key or a value
	maxMeta = 100
	maxTTL  = 365 * 24 * time.Hour
)

// resolve returns the settings of an addition, with the same checks as for a configured
// backend.
func (p *Pool) resolve(a *membership.Addition) (s backend.Settings, err error) {
	for _, text := range append([]string{a.Address, a.ID}, flat(a.Meta)...) {
		if len(text) > maxText {
			return s, fmt.Errorf("the address, the id and meta must have at most %d bytes each, got one of %d", maxText, len(text))
		}
	}
	switch {
	case a.Address == "":
		return s, errors.New("the address is missing")
	case len(a.Meta) > maxMeta:
		return s, fmt.Errorf("meta must have at most %d entries, got %d", maxMeta, len(a.Meta))
	case a.TTL < 0 || a.TTL > maxTTL:
		return s, fmt.Errorf("ttl must be from 0 to %v, got %v", maxTTL, a.TTL)
	}
	cfg := BackendConfig{Dial: a.Address, ID: a.ID, Weight: a.Weight, MaxRequests: a.MaxRequests, Tier: a.Tier, Backup: a.Backup, Meta: a.Meta}
	all, scheme, err := cfg.resolve(p.limit)
	if err != nil {
		return s, err
	}
	if len(all) != 1 {
		return s, fmt.Errorf("address %q stands for %d backends; add one at a time", a.Address, len(all))
	}
	if own := cmp.Or(p.usesScheme(), "http"); scheme != "" && scheme != own {
		return s, fmt.Errorf("a pool's backends must have one scheme, got %s and %s; write %s", schemeName(scheme), schemeName(p.usesScheme()), all[0].Address)
	}
	return all[0], nil
}

func flat(meta map[string]string) (texts []string) {
	for key, value := range meta {
		texts = append(texts, key, value)
	}
	return texts
}
