// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package selection holds the selection policies for lb_policy of reverse_proxy.
//
//	policy           use when                               cost of a pick
//	wrr              shares must be exact                   constant
//	weighted_random  many proxies must not synchronize      constant
//	p2c              in doubt; the default of a pool        constant
//	least_request    few backends, requests of uneven cost  grows with the pool
//	peak_ewma        backends differ in speed, or turn slow constant
//	least_time       the same, few backends                 grows with the pool
//	prequal          the same, the slowest answers matter   constant
//	rendezvous       a key must meet the same backend       constant
//	ring_hash        the same, on a ring as in Envoy        constant
//	maglev           the same, with the most even shares    constant
//
// Each policy works in a pool, on a plain list of upstreams and with any other dynamic source.
// The file of a policy holds its algorithm and its configuration; [Adapter] makes it a Caddy
// module.
package selection
