// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// kind is a compared balancer.
type kind struct {
	name string
	peer *peers.Peer
	// limited reports that its limit is configured as the workers of a backend.
	limited bool
}

// wanted reports whether the command line selects the kind by the beginning of its name.
func (k kind) wanted(only []string) bool {
	return only == nil || slices.ContainsFunc(only, func(words string) bool { return strings.HasPrefix(k.name, words) })
}

// proxy is a running balancer.
type proxy struct {
	*testbed.Process
	kind
	address string
}

// start runs a balancer, and returns when it listens. The error of one that is not installed is
// [exec.ErrNotFound].
func start(n *network.Network, s *scenario, k kind, caddy, dir string, backends []*testbed.Backend) (*proxy, error) {
	address, err := testbed.Address(n, n.Balancer())
	if err != nil {
		return nil, err
	}
	site := peers.Site{Address: address}
	if k.limited {
		site.Limit = s.workers
	}
	for _, b := range backends {
		site.Backends = append(site.Backends, b.Address())
	}
	process, err := k.peer.Start(n.Balancer(), caddy, dir, site)
	if err != nil {
		return nil, err
	}
	return &proxy{process, k, address}, nil
}
