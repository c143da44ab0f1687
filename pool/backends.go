// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"fmt"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// BackendConfig is the configuration of one backend.
type BackendConfig struct {
	// Dial is the address: host:port, unix//path, or an http://, https:// or h2c:// URL. A port
	// range stands for one backend per port. All backends of a pool must have the same scheme.
	Dial string `json:"dial"`
	backend.Settings
}

const backupTier = 1 // shown as the tier of backups

// resolve returns the endpoints that b stands for, in a pool with the given max_requests, which may
// be of the fleet.
func (b *BackendConfig) resolve(limit int, fleet bool) (all []backend.Endpoint, scheme string, err error) {
	dials, scheme, err := parseAddress(b.Dial)
	if err != nil {
		return nil, "", err
	}
	err = b.Check()
	if err == nil && b.MaxRequestsFleet && (b.MaxRequests == nil || *b.MaxRequests == 0) {
		err = errNothingToShare
	}
	if err != nil {
		return nil, "", fmt.Errorf("backend %s: %w", b.Dial, err)
	}
	if b.ID != "" && len(dials) > 1 {
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
		e := backend.Endpoint{Address: dial, Settings: b.Settings}
		e.ID = cmp.Or(b.ID, dial)
		if b.Weight == nil {
			e.Weight = new(1)
		}
		if b.MaxRequests == nil {
			e.MaxRequests, e.MaxRequestsFleet = &limit, fleet
		}
		if b.Backup {
			e.Tier = backupTier
		}
		if len(b.Meta) == 0 {
			e.Meta = nil
		}
		all = append(all, e)
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

func (s *addressSet) add(all []backend.Endpoint, scheme string) error {
	for _, b := range all {
		switch {
		case s.addresses[b.Address]:
			return fmt.Errorf("backend %s is in the pool twice; write it once", b.Address)
		case s.ids[b.ID]:
			return fmt.Errorf("id %q is used by two backends; ids must be unique", b.ID)
		}
		s.addresses[b.Address], s.ids[b.ID] = true, true
	}
	if s.any && scheme != s.scheme {
		return fmt.Errorf("all backends of a pool must have the same scheme, got %s and %s; write the same for all, or two pools", schemeName(s.scheme), schemeName(scheme))
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
