// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/mirror"
)

// Mirror sends copies of requests to other backends, with the transport of the proxy, and discards the answers. A request
// never waits for its copy. Upgrades, CONNECT, gRPC, and requests that are copies themselves are not mirrored. Copies
// have the header field X-Ballast-Mirror.
type Mirror struct {
	// Ratio is the share of the requests that are mirrored, above 0 and at most 1. Required.
	Ratio float64 `json:"ratio,omitempty"`
	// To lists the addresses that get the copies, in turn; they are written as the addresses of backends.
	// They are not members of the pool: they are not checked, and their failures count against no
	// backend. Required.
	To []string `json:"to,omitempty"`
	// Body is the largest request body that is mirrored, in bytes, at most 1 GiB. A copy is sent when the
	// whole body was read. Default: 64KB.
	Body caddyfileutil.Size `json:"body,omitempty"`
	// Methods are the methods of the requests that are mirrored. Default: GET and HEAD.
	Methods []string `json:"methods,omitempty"`
	// KeepCredentials keeps Authorization, Cookie and similar header fields in copies. Default: false.
	KeepCredentials bool `json:"keep_credentials,omitempty"`
	// MaxInFlight is the maximum number of copies in flight, including those whose body is still being
	// read, from 1 to 100,000. Further requests are not mirrored. The memory is at most Body times
	// MaxInFlight. Default: 100.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Timeout limits a copy, from its start to the end of the answer. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Bounds and defaults of the options of a mirror.
var (
	mirrorShares   = caddyfileutil.Floats{Max: 1, Above: true, Ratio: true}
	mirrorBodies   = caddyfileutil.Sizes{Max: 1 << 30}
	mirrorInFlight = caddyfileutil.Ints{Min: 1, Max: 100_000}
	mirrorMethods  = []string{http.MethodGet, http.MethodHead}
)

const (
	defaultMirrorBody     = 64_000
	defaultMirrorInFlight = 100
	defaultMirrorTimeout  = 10 * time.Second
)

// policy returns the policy of a mirror in a pool whose backends have the given scheme, or an error if
// a setting is invalid.
func (c *Mirror) policy(scheme string) (p mirror.MirrorPolicy, err error) {
	p = mirror.MirrorPolicy{
		Ratio: c.Ratio, Methods: mirrorMethods, Body: cmp.Or(int64(c.Body), defaultMirrorBody), KeepCredentials: c.KeepCredentials,
		MaxInFlight: cmp.Or(c.MaxInFlight, defaultMirrorInFlight), Timeout: cmp.Or(time.Duration(c.Timeout), defaultMirrorTimeout),
	}
	if len(c.Methods) > 0 {
		p.Methods = c.Methods
	}
	if err := cmp.Or(mirrorShares.Check("mirror's ratio", c.Ratio), mirrorBodies.Check("mirror's body", caddyfileutil.Size(p.Body)),
		mirrorInFlight.Check("mirror's max_in_flight", p.MaxInFlight), caddyfileutil.CheckDuration("mirror's timeout", c.Timeout),
		c.checkMethods()); err != nil {
		return p, err
	}
	for _, to := range c.To {
		dials, own, err := parseAddress(to)
		if err == nil && own != "" && own != scheme {
			err = fmt.Errorf("address %q: copies go by the transport of the pool's proxies, and its backends have the scheme %s; write the same, or the address without a scheme", to, schemeName(scheme))
		}
		if err != nil {
			return p, fmt.Errorf("mirror: %w", err)
		}
		for _, dial := range dials {
			if slices.Contains(p.To, dial) {
				return p, fmt.Errorf("mirror: %s is there twice; write it once", dial)
			}
			p.To = append(p.To, dial)
		}
	}
	if len(p.To) == 0 {
		return p, errors.New("mirror: the addresses are missing; write mirror <ratio> <to...>")
	}
	return p, nil
}

func (c *Mirror) checkMethods() error {
	if slices.Contains(c.Methods, http.MethodConnect) {
		return errors.New("mirror's methods: CONNECT opens a connection, which cannot be mirrored; remove it")
	}
	return checkMethods("mirror", c.Methods)
}

// provision returns the mirror of a pool; nil if c is nil. scheme is the scheme of the pool's backends.
func (c *Mirror) provision(scheme string, counters *mirror.CopyCounters) (*mirror.Mirror, error) {
	if c == nil {
		return nil, nil
	}
	p, err := c.policy(scheme)
	if err != nil {
		return nil, err
	}
	return mirror.New(p, counters), nil
}

// unmarshal parses `mirror <ratio> <to...> { ... }`.
func (c *Mirror) unmarshal(d *caddyfile.Dispenser) (err error) {
	position := *d
	if !d.NextArg() {
		return d.Err("mirror: the ratio is missing; write one such as mirror 10% <to...>")
	}
	if c.Ratio, err = mirrorShares.Parse("mirror", d.Val()); err != nil {
		return d.WrapErr(err)
	}
	options := c.options()
	for d.NextArg() {
		if options.Has(d.Val()) {
			return d.Errf("mirror: %q is an option, not an address; write it in a block, on a line of its own, or %s:80 for a host of that name", d.Val(), d.Val())
		}
		if _, _, err := parseAddress(d.Val()); err != nil {
			return d.WrapErr(err)
		}
		if slices.Contains(c.To, d.Val()) {
			return d.Errf("mirror: %s is there twice; write it once", d.Val())
		}
		c.To = append(c.To, d.Val())
	}
	if len(c.To) == 0 {
		return position.Err("mirror: the addresses are missing; write mirror <ratio> <to...>")
	}
	return caddyfileutil.Block(d, options)
}

// options are the options of the block.
func (c *Mirror) options() caddyfileutil.Options {
	return caddyfileutil.Options{
		"body":             mirrorBodies.Option(&c.Body),
		"methods":          caddyfileutil.Valid(caddyfileutil.Strings(&c.Methods), c.checkMethods),
		"keep_credentials": caddyfileutil.Flag(&c.KeepCredentials),
		"max_in_flight":    mirrorInFlight.Option(&c.MaxInFlight),
		"timeout":          caddyfileutil.Duration(&c.Timeout),
	}.Hint(mirrorWords)
}

// mirrorWords are the hints in the block of a mirror.
var mirrorWords = map[string]string{
	"to": "write `mirror <ratio> <to...>`", "percent": "write `mirror <ratio> <to...>`", "ratio": "write `mirror <ratio> <to...>`", "max_body": "write `body <size>`",
	"maxBodySize": "write `body <size>`", "match": "write `methods <methods...>`", "method": "write `methods <methods...>`",
	"credentials": "write `keep_credentials`", "max_requests": "write `max_in_flight <n>`",
}
