// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package caddypolicies describes which properties of requests and upstreams Caddy's selection policies use.
package caddypolicies

import "github.com/ballast-lb/caddy-ballast/internal/backend"

// keyed are Caddy's policies that send each key to the same backend.
var keyed = map[any]bool{"ip_hash": true, "client_ip_hash": true, "uri_hash": true, "query": true, "header": true, "cookie": true}

// AffinityOf returns the affinity of requests for which one of Caddy's policies chooses.
func AffinityOf(policy any) backend.Affinity {
	switch {
	case keyed[policy]:
		return backend.SessionBound
	case policy == "first": // all requests have the same backend, as if they had one key
		return backend.KeyBound(0)
	}
	return backend.Unbound
}
