// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// healthy returns the number of healthy members of all groups of a view, and of all members that are admitted and have a
// weight.
func healthy(v *pool.View) (healthy, serving int) {
	for _, part := range v.EachGroup() {
		some, all := part.Healthy()
		healthy += some
		serving += all
	}
	return healthy, serving
}

// reason returns why no backend of a pool can take a request; empty if one can.
func reason(p *pool.Pool) string {
	v := p.View()
	for i, share := range p.Groups().Shares() {
		if share > 0 && len(v.Of(i).Tiers) > 0 {
			return ""
		}
	}
	return string(v.Reason)
}

// Unserved returns a warning if requests to a pool get no backend: if none of the main group takes new requests, and it
// gets some, of its own or of a group without backends. Else it returns "".
func Unserved(p *pool.Pool) string {
	v := p.View()
	for i, share := range p.Groups().Shares() {
		if len(v.Tiers) > 0 || share == 0 || len(v.Of(i).Tiers) > 0 {
			continue
		}
		if reason(p) == "" {
			return "no backend of the main group takes new requests now"
		}
		return "no backend of the pool takes new requests now"
	}
	return ""
}
