// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
)

// resolve returns the dial addresses of a backend by IP address, in the order of the lookup.
// It returns an error unless all of them are allowed.
func (h *Handler) resolve(ctx context.Context, address string) (all []string, err error) {
	network, host, port, err := caddy.SplitNetworkAddress(address)
	if err != nil {
		return nil, err
	}
	if caddy.IsUnixNetwork(network) {
		return nil, statusError{http.StatusForbidden, fmt.Errorf("address %s is not allowed: a unix socket is outside all ranges", address)}
	}
	ips, err := lookup(ctx, network, host)
	if err != nil {
		return nil, fmt.Errorf("address %s cannot be resolved: %w", address, err)
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	for _, ip := range slices.Compact(ips) {
		if !slices.ContainsFunc(h.ranges, func(r netip.Prefix) bool { return r.Contains(ip) }) {
			return nil, statusError{http.StatusForbidden, fmt.Errorf("address %s is not allowed: %s is outside all ranges", address, ip)}
		}
		all = append(all, caddy.JoinNetworkAddress(network, ip.String(), port))
	}
	return all, nil
}

// lookup returns the IP addresses of a host. It converts IPv4-mapped IPv6 addresses to IPv4.
func lookup(ctx context.Context, network, host string) (ips []netip.Addr, err error) {
	if host == "" { // a dialer takes an empty host for this machine
		host = "localhost"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	version := map[string]string{"tcp4": "ip4", "tcp6": "ip6"}[network]
	if version == "" {
		version = "ip"
	}
	ips, err = net.DefaultResolver.LookupNetIP(ctx, version, host)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if err == nil && len(ips) == 0 {
		err = fmt.Errorf("%s has no addresses", host)
	}
	return ips, err
}
