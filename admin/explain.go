// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// explain answers which backend a request would get.
func explain(p *pool.Pool, w http.ResponseWriter, r *http.Request) {
	req, err := described(r.URL.RawQuery)
	if err != nil {
		refuse(w, err)
		return
	}
	out := Explained{Pool: p.Name}
	for i, f := range p.Explainers() {
		e := explanation(f(req))
		if i == 0 {
			out.Explanation = e
		} else {
			out.Others = append(out.Others, e)
		}
	}
	if out.Policy == "" {
		out.Explanation = explanation(pool.Explanation{
			Why:        "no proxy with a policy of Ballast uses this pool, and other policies cannot be explained",
			Candidates: p.Candidates(p.View()),
		})
	}
	answer(w, http.StatusOK, out)
}

func explanation(e pool.Explanation) Explanation {
	out := Explanation{Policy: e.Policy, Odds: e.Odds, Why: e.Why, Candidates: []Candidate{}}
	if e.Backend != nil {
		out.Backend = e.Backend.ID
		out.Group = e.Group
	}
	for _, c := range e.Candidates {
		out.Candidates = append(out.Candidates, Candidate{
			ID: c.Backend.ID, Address: c.Backend.Address, State: c.Backend.Condition().State, Tier: c.Backend.Tier, Backup: c.Backend.Backup, Group: c.Backend.Group,
			Weight: c.Backend.EffectiveWeight(), Odds: c.Odds, Score: c.Score, PassedOver: c.PassedOver,
		})
	}
	return out
}

// described returns the request that a query describes.
func described(query string) (*http.Request, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	if err := httpx.CheckQuery(values, "client_ip", "header...", "host", "method", "uri"); err != nil {
		return nil, err
	}
	known := map[string]string{"client_ip": "127.0.0.1", "uri": "/", "method": http.MethodGet, "host": "localhost"}
	for name := range known {
		if values.Has(name) {
			known[name] = values.Get(name)
		}
	}
	ip, err := netip.ParseAddr(known["client_ip"])
	if err != nil {
		return nil, fmt.Errorf("client_ip must be an IP address, got %q", known["client_ip"])
	}
	if !strings.HasPrefix(known["uri"], "/") {
		return nil, fmt.Errorf("uri must begin with a slash, got %q", known["uri"])
	}
	if u, err := url.Parse("http://" + known["host"]); err != nil || u.Host != known["host"] || u.Host == "" {
		return nil, fmt.Errorf("host must be a host name or an address, got %q", known["host"])
	}
	req, err := http.NewRequest(known["method"], "http://localhost"+known["uri"], nil)
	if err != nil {
		return nil, err
	}
	req.RequestURI, req.Host, req.RemoteAddr = known["uri"], known["host"], net.JoinHostPort(ip.String(), "1")
	for _, line := range values["header"] {
		field, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || field == "" || strings.ContainsFunc(field, notInField) || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, fmt.Errorf("header must be a field such as `X-Tenant: a`, got %q", line)
		}
		if strings.EqualFold(field, "host") {
			return nil, errors.New("write host instead of the header Host")
		}
		req.Header.Add(field, value)
	}
	return caddyhttp.PrepareRequest(req, caddy.NewReplacer(), nil, new(caddyhttp.Server)), nil
}

// notInField reports whether the name of a header field cannot contain r.
func notInField(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}
