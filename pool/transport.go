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
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// useTransport has the members probed as a proxy reaches them, whose use of the pool
// is written at a position. It is called for each proxy, before start, and says so if
// a check cannot do as all of them do.
func (p *Pool) useTransport(t *proxyhook.Transport, at caddyfileutil.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, changed := p.transport, false
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
	// Timeouts are no reason for two proxies to disagree: the longer one counts.
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
func (p *Pool) transportOptions(c healthcheck.Check, t *proxyhook.Transport) (map[string]string, error) {
	heir, ok := c.(healthcheck.Inheriting)
	if !ok {
		return nil, nil
	}
	names, err := heir.Inherits(t)
	if err != nil {
		return nil, err
	}
	options := make(map[string]string)
	for _, name := range names {
		// Where addresses have a scheme, it says whether there is TLS.
		if value := t.Options[name]; value != "" && (name != "tls" || p.scheme == "") {
			options[name] = value
		}
	}
	return options, nil
}

// agree says what a check would have to do in two ways.
func (c *check) agree(options map[string]string, first, other *proxyhook.Transport, firstAt caddyfileutil.Position) error {
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
	advice := ""
	if own := ownOptions[name]; own != "" {
		advice = ", or " + own + " in the check"
	}
	among := ""
	if firstAt != "" {
		among = ", one of them at " + string(firstAt)
	}
	return fmt.Errorf("health %s reaches the backends as the transports of the pool's proxies do, and these differ in %s%s; write the same in all of them%s, or a pool for each",
		c.name, name, among, advice)
}

// ownOptions is what a check can say itself instead of what a transport says.
var ownOptions = map[string]string{
	"tls":                      "`tls` or `tls off`",
	"tls_client_auth":          "`tls { client_certificate <cert> <key> }`",
	"tls_except_ports":         "`tls` or `tls off`",
	"tls_insecure_skip_verify": "`tls { ca <file> }` or `tls { insecure_skip_verify }`",
	"tls_server_name":          "`tls { server_name <name> }`",
	"tls_trust_pool":           "`tls { ca <file> }`",
	"versions":                 "`scheme http|https`",
}

// rebuild makes all members anew, since their checks are others. The old are released
// first: one that was kept in the storage is restored for its new checks, too. The
// caller must hold p.mu.
func (p *Pool) rebuild() error {
	for _, m := range p.order {
		m.release()
	}
	all := make([]*backend.Backend, 0, len(p.order))
	for i, old := range p.order {
		m, err := p.newMember(old.Settings)
		if err != nil {
			return err
		}
		m.origin = old.origin
		m.Resolve(old.IPs())
		p.order[i], p.current[m.Address] = m, m
		all = append(all, m.Backend)
	}
	p.SetMembers(backend.NewMembers(all))
	return nil
}

// target returns what a check of the pool probes at an address.
func (p *Pool) target(address string, c check) healthcheck.Target {
	return healthcheck.NewTarget(address, p.usesScheme(), c.Timing().Port).Through(p.transport)
}

// usesScheme returns the scheme of the addresses, or what is spoken to them if they
// have none.
func (p *Pool) usesScheme() string {
	if p.scheme == "" && p.transport.TLS("") {
		return "https"
	}
	return p.scheme
}
