// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// lookupOf returns the lookup of a source. Ballast looks up the sources a and srv itself:
// Caddy's code drops the priority and the weight of a record, has its own cache of one minute,
// and holds a lock that all proxies share while it waits for DNS.
func lookupOf(s reverseproxy.UpstreamSource) (lookup, error) {
	switch s := s.(type) {
	case *reverseproxy.AUpstreams:
		return lookupA(s)
	case *reverseproxy.SRVUpstreams:
		return lookupSRV(s)
	case *Source:
		return nil, errors.New("a pool cannot be the source of a pool")
	}
	return lookupAny(s), nil
}

// checkSource rejects configurations that Caddy's own sources accept but cannot look up.
func checkSource(raw json.RawMessage) error {
	var s struct{ Source, Name, Port string }
	if err := json.Unmarshal(raw, &s); err != nil || s.Source != "a" && s.Source != "srv" {
		return nil // third-party sources check themselves
	}
	if s.Name == "" {
		return fmt.Errorf("from %s: the name to look up is missing; write from %s <name>", s.Source, s.Source)
	}
	if s.Source == "a" && !strings.Contains(s.Port, "{") {
		return checkPort(s.Port)
	}
	return nil
}

func checkPort(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return fmt.Errorf("from a: port must be from 1 to 65535, got %q", port)
	}
	return nil
}

func lookupA(s *reverseproxy.AUpstreams) (lookup, error) {
	name, err1 := global(s.Name)
	port, err2 := global(s.Port)
	resolver, err3 := httptransport.NewResolver(s.Resolver, s.DialTimeout, s.FallbackDelay)
	if err := errors.Join(err1, err2, err3, checkPort(port)); err != nil {
		return nil, err
	}
	if port == "" {
		port = "80"
	}
	network := ipNetwork(s.Versions)
	return func(ctx context.Context) ([]backend.Endpoint, error) {
		ips, err := resolver.LookupIP(ctx, network, name)
		if err != nil {
			return nil, err
		}
		found := make([]backend.Endpoint, len(ips))
		for i, ip := range ips {
			found[i] = discovered(net.JoinHostPort(ip.String(), port))
		}
		return found, nil
	}, nil
}

// ipNetwork returns the network of LookupIP for the wanted versions. A version that is not set
// is not wanted if the other is, as in Caddy.
func ipNetwork(v *reverseproxy.IPVersions) string {
	if v == nil || v.IPv4 == nil && v.IPv6 == nil {
		return "ip"
	}
	v4, v6 := v.IPv4 != nil && *v.IPv4, v.IPv6 != nil && *v.IPv6
	switch {
	case v4 && !v6 || v.IPv4 == nil && !v6:
		return "ip4"
	case v6 && !v4:
		return "ip6"
	}
	return "ip"
}

// lookupSRV uses the priority of a record as the tier and its weight as the weight (RFC 2782).
// If all weights of a priority are 0, they are equal. Otherwise a record with weight 0 gets no
// requests, where the RFC has "a very small chance".
func lookupSRV(s *reverseproxy.SRVUpstreams) (lookup, error) {
	name, err1 := global(s.Name)
	service, err2 := global(s.Service)
	proto, err3 := global(s.Proto)
	resolver, err4 := httptransport.NewResolver(s.Resolver, s.DialTimeout, s.FallbackDelay)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]backend.Endpoint, error) {
		_, records, err := resolver.LookupSRV(ctx, service, proto, name)
		if err != nil && len(records) == 0 { // with records, only some were invalid
			return nil, err
		}
		weighted := make(map[uint16]bool)
		for _, r := range records {
			weighted[r.Priority] = weighted[r.Priority] || r.Weight > 0
		}
		found := make([]backend.Endpoint, 0, len(records))
		for _, r := range records {
			address := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			if s.DialNetwork != "" {
				address = s.DialNetwork + "/" + address
			}
			b := discovered(address)
			b.Tier = int(r.Priority)
			if weighted[r.Priority] {
				b.Weight = new(int(r.Weight))
			}
			found = append(found, b)
		}
		if s.Resolver == nil || len(s.Resolver.Addresses) == 0 {
			return found, nil // the dialer looks the targets up
		}
		return found, lookupTargets(ctx, resolver, s.DialNetwork, records, found)
	}, nil
}

// lookupAny calls any other source as a proxy would, outside a request. A call that does not
// return in time is abandoned, and there is no further one until it has returned.
func lookupAny(s reverseproxy.UpstreamSource) lookup {
	calling := make(chan struct{}, 1) // has a value during a call
	return func(ctx context.Context) ([]backend.Endpoint, error) {
		type answer struct {
			found []backend.Endpoint
			err   error
		}
		select {
		case calling <- struct{}{}:
		default:
			return nil, errSourceHangs
		}
		done := make(chan answer, 1)
		go func() {
			var a answer
			defer func() { <-calling; done <- a }()
			defer panics.Catch("querying a source", &a.err, errSourcePanicked)
			a.found, a.err = query(ctx, s)
		}()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case a := <-done:
			return a.found, a.err
		}
	}
}

// query calls a source, and returns the backends that it has found.
func query(ctx context.Context, s reverseproxy.UpstreamSource) (found []backend.Endpoint, err error) {
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
	if err != nil {
		return nil, err
	}
	upstreams, err := s.GetUpstreams(req)
	for _, u := range upstreams {
		found = append(found, discovered(u.Dial))
	}
	return found, err
}

// errSourceHangs is the error of a source that has not returned from the call before.
var errSourceHangs = errors.New("the source has not returned from an earlier call yet")

// errSourcePanicked is the error of a source that panics.
func errSourcePanicked(p any) error { return fmt.Errorf("the source panicked: %v", p) }

// discovered returns the settings of a backend of which only the address is known.
func discovered(address string) backend.Endpoint {
	return backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}
}

// global replaces placeholders that do not depend on a request.
func global(text string) (string, error) {
	out, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("%q: a pool queries its sources without a request, so only global placeholders such as {env.*} are available: %w", text, err)
	}
	return out, nil
}
