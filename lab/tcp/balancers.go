// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// comparison runs the balancers and the benchmarks through them.
type comparison struct {
	options
	network *network.Network
	dir     string
}

// The compared balancers. The first two run in the same Caddy program.
const (
	balance = "balance"
	proxy   = "proxy of caddy-l4"
	haproxy = "HAProxy"
)

// balancer is a running balancer.
type balancer struct {
	name, address string
	process       *testbed.Process // nil for the backend itself
}

// start starts the installed balancers in front of a backend. The caller must stop them.
func (c *comparison) start(backend string) (running []balancer, err error) {
	for _, name := range []string{balance, proxy, haproxy} {
		b, err := c.startOne(name, backend)
		switch {
		case errors.Is(err, exec.ErrNotFound):
			fmt.Printf("%s is not installed, and left out\n", name)
		case err != nil:
			stop(running)
			return nil, fmt.Errorf("%s: %w", name, err)
		default:
			running = append(running, b)
		}
	}
	return running, nil
}

func stop(running []balancer) {
	for _, b := range running {
		if b.process != nil {
			b.process.Kill()
		}
	}
}

func (c *comparison) startOne(name, backend string) (b balancer, err error) {
	node := c.network.Balancer()
	b.name = name
	if b.address, err = testbed.Address(c.network, node); err != nil {
		return b, err
	}
	switch name {
	case balance:
		b.process, err = c.startCaddy(b.address, fmt.Sprintf("ballast {\npool app {\nto %s\nhealth tcp\n}\n}\n", backend), "balance app")
	case proxy:
		b.process, err = c.startCaddy(b.address, "", "proxy "+backend)
	case haproxy:
		file := filepath.Join(c.dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(fmt.Sprintf(haproxyConfig, maxHAProxy, b.address, backend)), 0o600); err != nil {
			return b, err
		}
		b.process, err = testbed.StartProcess(node, node.Command("haproxy", "-db", "-f", file), file+".log", b.address)
	}
	return b, err
}

// startCaddy starts a Caddy whose caddy-l4 has one route with a handler.
func (c *comparison) startCaddy(address, global, handler string) (*testbed.Process, error) {
	l4 := fmt.Sprintf("layer4 {\n%s {\nroute {\n%s\n}\n}\n}\n", address, handler)
	return testbed.StartCaddy(c.network.Balancer(), c.caddy, c.dir, testbed.GlobalOptions(global+l4), address)
}

// haproxyConfig has verbs for the number of connections, and the addresses of HAProxy and of the backend.
const haproxyConfig = `global
	maxconn %d
	maxpipes 100
defaults
	mode tcp
	balance leastconn
	timeout connect 3s
	timeout client 1h
	timeout server 1h
listen app
	bind %s
	option splice-auto
	server one %s check
`
