// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// lookupsAtOnce bounds the concurrent lookups of the targets of one answer.
const lookupsAtOnce = 8

// unresolvedError reports the targets of a good answer that cannot be looked up.
type unresolvedError struct {
	hosts []string
	err   error // for the first host
}

func (e *unresolvedError) Error() string {
	return fmt.Sprintf("%d targets cannot be resolved, the first %s: %v", len(e.hosts), e.hosts[0], e.err)
}

func (e *unresolvedError) Unwrap() error { return e.err }

// lookupTargets looks up the targets of records, and stores their addresses in found, which has
// the same order.
func lookupTargets(ctx context.Context, resolver *net.Resolver, network string, records []*net.SRV, found []backend.Endpoint) error {
	version := "ip"
	switch {
	case strings.HasSuffix(network, "4"):
		version = "ip4"
	case strings.HasSuffix(network, "6"):
		version = "ip6"
	}
	var (
		byHost = make(map[string][]int) // by host, which may appear with several ports
		mu     sync.Mutex
		bad    unresolvedError
		all    sync.WaitGroup
		few    = make(chan struct{}, lookupsAtOnce)
	)
	for i, r := range records {
		byHost[r.Target] = append(byHost[r.Target], i)
	}
	for host, backends := range byHost {
		few <- struct{}{}
		all.Go(func() {
			defer func() { <-few }()
			ips, err := resolver.LookupNetIP(ctx, version, host)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if bad.hosts = append(bad.hosts, strings.TrimSuffix(host, ".")); bad.err == nil {
					bad.err = err
				}
				return
			}
			for _, i := range backends {
				found[i].Resolved = texts(ips)
			}
		})
	}
	all.Wait()
	if bad.err != nil {
		return &bad
	}
	return nil
}

// texts returns addresses in sorted order, so that the order does not change with each answer.
func texts(ips []netip.Addr) []string {
	all := make([]string, len(ips))
	slices.SortFunc(ips, netip.Addr.Compare)
	for i, ip := range ips {
		all[i] = ip.Unmap().String()
	}
	return all
}

// keepResolved keeps the previous addresses of backends whose host was not found.
func keepResolved(found, before []backend.Endpoint) {
	known := make(map[string][]string, len(before))
	for i := range before {
		known[before[i].Address] = before[i].Resolved
	}
	for i := range found {
		if found[i].Resolved == nil {
			found[i].Resolved = known[found[i].Address]
		}
	}
}
