// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// useTransport makes the checks reach the members as the proxies do. It is called for each proxy before start; at
// is the position where the proxy uses the pool. The error means that a check cannot match all proxies.
func (p *Pool) useTransport(t *httptransport.Transport, at caddyfileutil.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, changed := p.transport, false
	if p.reportInterval > 0 {
		options, err := p.transportOptions(new(healthcheck.LoadReports), t)
		if err == nil && first != nil {
			err = p.reportOptions.agree(options, first, t, p.firstAt)
		}
		if err != nil {
			return err
		}
		p.reportOptions.inherited = options
	}
	for i := range p.checks {
		c := &p.checks[i]
		options, err := p.transportOptions(c.Check, t)
		if err != nil {
			return err
		}
		if first != nil {
			if err := c.agree(options, first, t, p.firstAt); err != nil {
				return err
			}
			continue
		}
		c.inherited = options
		if len(options) > 0 {
			text, _ := json.Marshal(options) // sorts the keys
			c.identity = c.written + "\n" + string(text)
			changed = true
		}
	}
	// Different timeouts of proxies are no conflict: the longer one is used.
	if first != nil && t.DialTimeout() <= first.DialTimeout() {
		return nil
	}
	if p.transport = t; first == nil {
		p.firstAt = at
	}
	if changed {
		return p.rebuild()
	}
	for _, m := range p.order {
		for i, u := range m.users {
			u.Target = p.target(m.Address, p.checks[i]).Of(m.Backend)
		}
	}
	return nil
}

// transportOptions returns the options of a transport on which a check depends.
func (p *Pool) transportOptions(c any, t *httptransport.Transport) (map[string]string, error) {
	heir, ok := c.(interface {
		Inherits(*httptransport.Transport) ([]string, error)
	})
	if !ok {
		return nil, nil
	}
	names, err := heir.Inherits(t)
	if err != nil {
		return nil, err
	}
	options := make(map[string]string)
	for _, name := range names {
		// With a scheme in the addresses, the scheme decides whether TLS is used.
		if value := t.Options[name]; value != "" && (name != "tls" || p.scheme == "") {
			options[name] = value
		}
	}
	return options, nil
}

// agree returns an error if the transports of two proxies differ in an option on which the
// check depends.
func (c *check) agree(options map[string]string, first, other *httptransport.Transport, firstAt caddyfileutil.Position) error {
	var differ []string
	for name := range c.inherited {
		if options[name] != c.inherited[name] || name == "tls_trust_pool" && !first.SameTrust(other) {
			differ = append(differ, name)
		}
	}
	for name := range options {
		if c.inherited[name] == "" {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	name := slices.Min(differ)
	advice, subject := "", "orca_report"
	if c.Check != nil {
		subject = "health " + c.name
	}
	if own := ownOptions[name]; own != "" && c.Check != nil {
		advice = ", or " + own + " in the check"
	}
	among := ""
	if firstAt != "" {
		among = ", one of them at " + string(firstAt)
	}
	return fmt.Errorf("%s uses the settings of the transports of the pool's proxies, which differ in %s%s; write the same in all of them%s, or a pool for each",
		subject, name, among, advice)
}

// ownOptions maps the options of a transport to the option of a check that overrides each.
var ownOptions = map[string]string{
	"tls":                      "`tls` or `tls off`",
	"tls_client_auth":          "`tls { client_certificate <cert> <key> }`",
	"tls_except_ports":         "`tls` or `tls off`",
	"tls_insecure_skip_verify": "`tls { ca <file> }` or `tls { insecure_skip_verify }`",
	"tls_server_name":          "`tls { server_name <name> }`",
	"tls_trust_pool":           "`tls { ca <file> }`",
	"versions":                 "`scheme http|https`",
}

// rebuild creates all members again, since the identities of their checks have changed. It
// releases the old members first, so that stored state is restored for the new checks, too. The
// caller must hold p.mu.
func (p *Pool) rebuild() error {
	for _, m := range p.order {
		m.release(false)
	}
	all := make([]*backend.Backend, 0, len(p.order))
	for i, old := range p.order {
		m, err := p.newMember(old.Endpoint, false)
		if err != nil {
			return err
		}
		m.origin = old.origin
		m.Resolve(old.IPs())
		p.order[i], p.current[m.Address] = m, m
		all = append(all, m.Backend)
	}
	p.SetMembers(pool.NewMembers(all))
	return nil
}

// target returns the target of a check of the pool at an address.
func (p *Pool) target(address string, c check) healthcheck.Target {
	return healthcheck.NewTarget(address, p.usesScheme(), c.Timing().Port).Through(p.transport)
}

// usesScheme returns the scheme of the backends' addresses or, if these have none, https if the proxy's transport
// uses TLS.
func (p *Pool) usesScheme() string {
	if p.scheme == "" && p.transport.TLS("") {
		return "https"
	}
	return p.scheme
}
