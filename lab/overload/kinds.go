// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// kind is a balancer that is compared.
type kind struct {
	name string
	peer *peers.Peer
	// limit is how many requests it is told that a backend can work on, 0 for nothing.
	limit int
}

// kinds are what is compared.
var kinds = []kind{
	{"caddy", peers.Caddy, 0},
	{"caddy, its own cap", peers.Caddy, workers},
	{"ballast, shed", peers.Ballast, workers},
	{"ballast, max_requests", peers.BallastQueue, workers},
	{"haproxy, maxconn", peers.HAProxy, workers},
	{"nginx, max_conns", peers.Nginx, workers},
}

// proxy is the process of one.
type proxy struct {
	*testbed.Process
	name    string
	address string
}

// start runs a balancer, and returns when it listens. The error of one that is not installed is
// [exec.ErrNotFound].
func start(n *network.Network, k kind, caddy, dir string, backends []*testbed.Backend) (*proxy, error) {
	address, err := testbed.Address(n, n.Balancer())
	if err != nil {
		return nil, err
	}
	site := peers.Site{Address: address, Limit: k.limit}
	for _, b := range backends {
		site.Backends = append(site.Backends, b.Address())
	}
	process, err := k.peer.Start(n.Balancer(), caddy, dir, site)
	if err != nil {
		return nil, err
	}
	return &proxy{process, k.name, address}, nil
}
