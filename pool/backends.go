// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"maps"
	"math"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// BackendConfig is the configuration of one backend.
type BackendConfig struct {
	// Dial is the address: host:port, unix//path, or an http://, https:// or h2c:// URL. A port
	// range stands for one backend per port. All backends of a pool must have the same scheme.
	Dial string `json:"dial"`
	// ID is the backend's name in cookies, metrics and the admin API, unique in the pool. It is
	// readable text that can be a segment of a URL path: a/b is valid; "..", a//b and a/../b
	// are not. Default: the address.
	ID string `json:"id,omitempty"`
	// Weight is the share of requests relative to the others in the tier, at most 65535. With 0
	// the backend gets no new requests. Default: 1.
	Weight *int `json:"weight,omitempty"`
	// MaxRequests is the most requests in flight to the backend; 0 for no limit. Default: that
	// of the pool.
	MaxRequests *int `json:"max_requests,omitempty"`
	// Tier is the priority level, at most 65535. A tier gets the requests that lower tiers
	// cannot take. Default: 0.
	Tier int `json:"tier,omitempty"`
	// Backup makes the backend serve only while no other backend of any tier can. Its tier is
	// shown as 1.
	Backup bool `json:"backup,omitempty"`
	// Meta is free text by key, shown together with the backend.
	Meta map[string]string `json:"meta,omitempty"`
}

// Bounds of a backend's settings.
const (
	maxWeight = 65535 // as in a DNS SRV record
	maxTier   = 65535 // as the priority in a DNS SRV record
	maxLimit  = math.MaxInt32

	backupTier = 1 // shown as the tier of backups
)

// resolve returns the settings of the backends that b stands for, in a pool with the given
// max_requests.
func (b *BackendConfig) resolve(limit int) (all []backend.Settings, scheme string, err error) {
	dials, scheme, err := parseAddress(b.Dial)
	if err != nil {
		return nil, "", err
	}
	weight, tier := 1, b.Tier
	if b.Weight != nil {
		weight = *b.Weight
	}
	if b.Backup {
		tier = backupTier
	}
	if b.MaxRequests != nil {
		limit = *b.MaxRequests
	}
	switch {
	case weight < 0 || weight > maxWeight:
		return nil, "", fmt.Errorf("backend %s: weight must be from 0 to %d, got %d", b.Dial, maxWeight, weight)
	case limit < 0 || limit > maxLimit:
		return nil, "", fmt.Errorf("backend %s: max_requests must be from 0 to %d, got %d", b.Dial, maxLimit, limit)
	case b.Tier < 0 || b.Tier > maxTier:
		return nil, "", fmt.Errorf("backend %s: tier must be from 0 to %d, got %d", b.Dial, maxTier, b.Tier)
	case b.Backup && b.Tier != 0:
		return nil, "", fmt.Errorf("backend %s: a backup serves behind all tiers; write backup or tier, not both", b.Dial)
	case b.ID != "" && len(dials) > 1:
		return nil, "", fmt.Errorf("backend %s: an id cannot name %d backends; write a `backend` for each port", b.Dial, len(dials))
	}
	if b.ID == "" {
		err = checkAddressAsID(dials[0]) // the addresses of a range differ only in the port
	} else {
		err = checkID(b.ID)
	}
	if err != nil {
		return nil, "", fmt.Errorf("backend %s: %w", b.Dial, err)
	}
	for _, dial := range dials {
		s := backend.Settings{Address: dial, ID: b.ID, Weight: weight, Tier: tier, Backup: b.Backup, MaxRequests: limit, Meta: maps.Clone(b.Meta)}
		if s.ID == "" {
			s.ID = dial
		}
		all = append(all, s)
	}
	return all, scheme, nil
}

// addressSet finds repeated addresses and ids, and differing schemes, among backends.
type addressSet struct {
	addresses, ids map[string]bool
	scheme         string
	any            bool
}

func newAddressSet() *addressSet {
	return &addressSet{addresses: make(map[string]bool), ids: make(map[string]bool)}
}

func (s *addressSet) add(all []backend.Settings, scheme string) error {
	for _, b := range all {
		switch {
		case s.addresses[b.Address]:
			return fmt.Errorf("backend %s is in the pool twice; write it once", b.Address)
		case s.ids[b.ID]:
			return fmt.Errorf("id %q is given to two backends; ids must differ", b.ID)
		}
		s.addresses[b.Address], s.ids[b.ID] = true, true
	}
	if s.any && scheme != s.scheme {
		return fmt.Errorf("a pool's backends must have one scheme, got %s and %s; write the same for all, or two pools", schemeName(s.scheme), schemeName(scheme))
	}
	s.any, s.scheme = true, scheme
	return nil
}

func schemeName(scheme string) string {
	if scheme == "" {
		return "none"
	}
	return scheme + "://"
}
