// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"
)

// Topology is a test network: hosts on one switch.
type Topology struct {
	Clients  []Host
	Balancer Host
	Backends []Host
	// Loopback makes the hosts loopback addresses even if namespaces are possible, to save CPU
	// time.
	Loopback bool
}

// Host is one machine of a test network. The zero value has the default name and address, and no
// limits.
type Host struct {
	// Name is unique: lower-case letters, digits and hyphens, at most 16. Default: client1, client2, …,
	// balancer, backend1, backend2, …
	Name string
	// Address is an IPv4 address of 10.77.0.0/16, unique. Default: 10.77.1.1, … for clients,
	// 10.77.0.1 for the balancer, 10.77.2.1, … for backends. On loopback 127.77.0.0/16 replaces the
	// network.
	Address string
	// CPU is the CPU limit of all processes of the host, in CPUs. At least 0.01; 0 for no limit. It
	// does not apply to connections made with [Node.Dial], which belong to the calling process.
	CPU float64
	// Rate is the rate of the host's link in each direction, in bits a second; 0 for no limit.
	Rate int64
	// Delay is added to each packet that the host sends; 0 for none.
	Delay time.Duration
}

// prefix is the network of all addresses.
var prefix = netip.MustParsePrefix("10.77.0.0/16")

// maxHosts is the number of default addresses of clients, and of backends.
const maxHosts = 250

var hostName = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

// hosts returns all hosts with their defaults: the balancer, clients, backends.
func (t Topology) hosts() ([]Host, error) {
	if len(t.Clients) > maxHosts || len(t.Backends) > maxHosts {
		return nil, fmt.Errorf("%d clients and %d backends; at most %d of each", len(t.Clients), len(t.Backends), maxHosts)
	}
	all := []Host{t.Balancer.or("balancer", "10.77.0.1")}
	for i, h := range t.Clients {
		all = append(all, h.or(fmt.Sprintf("client%d", i+1), fmt.Sprintf("10.77.1.%d", i+1)))
	}
	for i, h := range t.Backends {
		all = append(all, h.or(fmt.Sprintf("backend%d", i+1), fmt.Sprintf("10.77.2.%d", i+1)))
	}
	names, addresses := make(map[string]bool), make(map[string]bool)
	for _, h := range all {
		a, err := netip.ParseAddr(h.Address)
		switch {
		case !hostName.MatchString(h.Name) || h.Name == switchName:
			return nil, fmt.Errorf("%q is not a valid name of a host", h.Name)
		case err != nil || !prefix.Contains(a):
			return nil, fmt.Errorf("host %s: the address %q is not in %v", h.Name, h.Address, prefix)
		case names[h.Name] || addresses[h.Address]:
			return nil, fmt.Errorf("host %s (%s): another host has this name or address", h.Name, h.Address)
		case h.CPU != 0 && h.CPU < 0.01, h.Rate < 0, h.Delay < 0:
			return nil, fmt.Errorf("host %s: the CPU share is at least 0.01, rate and delay are not negative", h.Name)
		}
		names[h.Name], addresses[h.Address] = true, true
	}
	return all, nil
}

func (h Host) or(name, address string) Host {
	if h.Name == "" {
		h.Name = name
	}
	if h.Address == "" {
		h.Address = address
	}
	return h
}
