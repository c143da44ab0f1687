// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy sticky {
//		cookie [<name>] {           # or one of the following four
//			secret    <text> [<former...>]
//			path      <path>
//			domain    <domain>
//			same_site lax|strict|none
//			secure
//			max_age   <duration>
//			cacheable
//			indirect
//		}
//		header       <field>
//		client_ip
//		query        <name>
//		learn        cookie|header <name>
//		ttl          <duration>
//		max_lifetime <duration>
//		on_full      spill|wait|rebind
//		on_down      rebind|fail
//		rebalance    <ratio>
//		store        <store> [<args...>] {
//			# the store's own options; `memory [<max_entries>]` has none
//		}
//		store_timeout <duration>
//		fallback     <policy> [<args...>] {
//			# the policy's own options
//		}
//	}
func (p *Sticky) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d)
	p.Position = caddyfileutil.PositionOf(d)
	position := *d
	if err := caddyfileutil.Block(d, caddyfileutil.Options{
		"cookie":       p.unmarshalCookie,
		"header":       caddyfileutil.Valid(caddyfileutil.String(&p.Header), func() error { return httpx.CheckField("header", p.Header) }),
		"client_ip":    caddyfileutil.Flag(&p.ClientIP),
		"query":        caddyfileutil.Valid(caddyfileutil.String(&p.Query), func() error { return checkQuery(p.Query) }),
		"learn":        p.unmarshalLearn,
		"ttl":          lifetimes.Option(&p.TTL),
		"max_lifetime": lifetimes.Option(&p.MaxLifetime),
		"on_full":      onFullWords.Option(&p.OnFull),
		"on_down":      onDownWords.Option(&p.OnDown),
		"rebalance":    rebalances.Option(&p.Rebalance),
		"store": func(d *caddyfile.Dispenser) (err error) {
			if next := *d; next.NextArg() && next.Val() == "redis" {
				if err := findRedis(); err != nil {
					return d.WrapErr(err)
				}
			}
			p.StoreRaw, err = caddyfileutil.Module(d, sessionStores, "module", "store")
			return err
		},
		"store_timeout": storeTimeouts.Option(&p.StoreTimeout),
		"fallback": func(d *caddyfile.Dispenser) (err error) {
			p.FallbackPosition = caddyfileutil.PositionOf(d)
			p.FallbackRaw, err = caddyfileutil.Module(d, strings.TrimSuffix(policies, "."), "policy", "fallback policy", "sticky")
			return err
		},
	}.Hint(map[string]string{
		"secret": inCookie, "path": inCookie, "domain": inCookie, "same_site": inCookie, "secure": inCookie, "max_age": inCookie,
		"name": "write `cookie <name>`", "ip_hash": "write `client_ip`", "source": "write `client_ip`", "timeout": "write `ttl <duration>`",
		"maxidle": "write `ttl <duration>`", "expire": "write `ttl <duration>`", "maxlife": "write `max_lifetime <duration>`",
		"expires": "write `cookie { ... }`, with `max_age <duration>` on a line of its own", "httponly": "cookies always are; write nothing",
		"insert": "write `cookie [<name>]`", "indirect": inCookie, "zone": "write `store memory <max_entries>`", "size": "write `store memory <max_entries>`",
		"on": "write `client_ip`, `header <field>`, `query <name>` or `learn cookie|header <name>`",
	})); err != nil {
		return err
	}
	// check works on a copy, because it sets defaults.
	checked := &Sticky{Header: p.Header, ClientIP: p.ClientIP, Query: p.Query, Learn: p.Learn, Rebalance: p.Rebalance, TTL: p.TTL, MaxLifetime: p.MaxLifetime, StoreRaw: p.StoreRaw, StoreTimeout: p.StoreTimeout}
	if p.Cookie != nil {
		cookie := *p.Cookie
		checked.Cookie = &cookie
	}
	if err := checked.check(); err != nil {
		return position.WrapErr(err)
	}
	return nil
}

const inCookie = "it is an option of the cookie; write `cookie [<name>] { ... }`, with it on a line of its own"

func (p *Sticky) unmarshalLearn(d *caddyfile.Dispenser) error {
	var words []string
	return caddyfileutil.Valid(caddyfileutil.Strings(&words), func() error {
		if len(words) != 2 || words[0] != "cookie" && words[0] != "header" {
			return fmt.Errorf("learn needs `cookie <name>` or `header <field>`, got %q", strings.Join(words, " "))
		}
		p.Learn = &Learn{Cookie: words[1]}
		if words[0] == "header" {
			p.Learn = &Learn{Header: words[1]}
		}
		return p.Learn.check()
	})(d)
}

func (p *Sticky) unmarshalCookie(d *caddyfile.Dispenser) error {
	p.Cookie = new(Cookie)
	c := p.Cookie
	if d.NextArg() {
		c.Name = d.Val()
		if err := caddyfileutil.CheckFixed(d, "cookie", c.Name); err != nil {
			return err
		}
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"secret": func(d *caddyfile.Dispenser) error {
			var all []string
			return caddyfileutil.Valid(caddyfileutil.ReplacedStrings(&all), func() error {
				if c.Secret = all[0]; len(all) > 1 {
					c.FormerSecrets = all[1:]
				}
				return c.checkSecrets()
			})(d)
		},
		"path":      caddyfileutil.String(&c.Path),
		"domain":    caddyfileutil.String(&c.Domain),
		"same_site": sameSiteWords.Option(&c.SameSite),
		"secure":    caddyfileutil.Flag(&c.Secure),
		"max_age":   lifetimes.Option(&c.MaxAge),
		"cacheable": caddyfileutil.Flag(&c.Cacheable),
		"indirect":  caddyfileutil.Flag(&c.Indirect),
	})
}
