// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"fmt"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// label sets an option of the endpoint from a label of a registry, or from a field of a file: id,
// instance, weight, tier, zone, state (ready or draining) and backup. Others are metadata.
func (e *Endpoint) label(name, value string) (err error) {
	switch name {
	case "id":
		e.ID = value
	case "instance":
		e.Instance = value
	case "weight":
		n, err := backend.Weights.Parse(name, value)
		e.Weight = &n
		return err
	case "tier":
		e.Tier, err = backend.Tiers.Parse(name, value)
	case "zone":
		e.Zone = value
	case "backup":
		if e.Backup = value == "true"; !e.Backup && value != "false" {
			return fmt.Errorf("backup must be true or false, got %q", value)
		}
	case "state":
		if e.Draining = value == "draining"; !e.Draining && value != "ready" {
			return fmt.Errorf("state must be ready or draining, got %q", value)
		}
	default:
		e.annotate(name, value)
	}
	return err
}

// annotate adds metadata.
func (e *Endpoint) annotate(key, value string) {
	if e.Meta == nil {
		e.Meta = make(map[string]string)
	}
	e.Meta[key] = value
}

// labels sets the options from the labels with the prefix. Those without are ignored.
func (e *Endpoint) labels(all map[string]string, prefix string) error {
	for name, value := range all {
		if own, ok := strings.CutPrefix(name, prefix); ok {
			if err := e.label(own, value); err != nil {
				return err
			}
		}
	}
	return nil
}
