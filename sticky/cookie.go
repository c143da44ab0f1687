// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// Cookie is the configuration of the session cookie. The cookie is always HttpOnly.
type Cookie struct {
	// Name is the name of the cookie. Different pools on one site need different names, unless
	// their paths differ. Default: ballast_ and the name of the pool; ballast for pools without
	// a name and for lists of upstreams.
	Name string `json:"name,omitempty"`
	// Secret encrypts and signs the cookie; at least 16 characters. It may be a placeholder such as
	// {env.SECRET}. Instances with the same secret accept each other's cookies. Default: a random secret in Caddy's storage, so that
	// instances with the same storage share it.
	Secret string `json:"secret,omitempty"`
	// FormerSecrets are also accepted. To change the secret without ending sessions, add the
	// new one here on all instances first, and then exchange it with Secret.
	FormerSecrets []string `json:"former_secrets,omitempty"`
	// Path is the path for which clients send the cookie. Default: /.
	Path string `json:"path,omitempty"`
	// Domain is the domain to whose hosts clients send the cookie. Default: only the host of
	// the request.
	Domain string `json:"domain,omitempty"`
	// SameSite is lax, strict or none; none requires Secure. Default: lax.
	SameSite string `json:"same_site,omitempty"`
	// Secure restricts the cookie to HTTPS. Default: only if it was set over HTTPS, or a
	// trusted proxy reports HTTPS in X-Forwarded-Proto.
	Secure bool `json:"secure,omitempty"`
	// Cacheable also sets the cookie in responses that a shared cache may store and send to
	// other clients. Default: false; a session begins with the first response that a shared
	// cache may not store.
	Cacheable bool `json:"cacheable,omitempty"`
	// MaxAge is how long clients keep the cookie after it was last set, at least 1s. Default:
	// until the browser closes.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// Indirect removes the cookie from the requests to the backends; other cookies stay.
	// Default: false.
	Indirect bool `json:"indirect,omitempty"`
}

const (
	defaultName   = "ballast"
	minSecret     = 16
	prefixHost    = "__Host-"
	prefixSecure  = "__Secure-"
	sameSiteNone  = "none"
	maxCookieSize = 4096 // the limit of browsers
	maxPoolInName = 64   // bytes of a pool's name in the default name
)

var sameSites = map[string]http.SameSite{"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, sameSiteNone: http.SameSiteNoneMode}

// sameSiteWords are the words of same_site.
var sameSiteWords = caddyfileutil.Words{"lax", "strict", sameSiteNone}

// check sets defaults and returns an error if a setting is invalid.
func (c *Cookie) check() error {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == "" {
		c.SameSite = "lax"
	}
	if err := sameSiteWords.Check("same_site", c.SameSite); err != nil {
		return err
	}
	if c.SameSite == sameSiteNone && !c.Secure {
		return fmt.Errorf("same_site none needs `secure`, or browsers reject the cookie; write it too")
	}
	if err := lifetimes.Check("max_age", c.MaxAge); err != nil {
		return err
	}
	if err := c.checkSecrets(); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(c.Name, prefixHost) && (!c.Secure || c.Path != "/" || c.Domain != ""):
		return fmt.Errorf("a cookie named %s... needs `secure`, the path / and no domain, or browsers reject it", prefixHost)
	case strings.HasPrefix(c.Name, prefixSecure) && !c.Secure:
		return fmt.Errorf("a cookie named %s... needs `secure`, or browsers reject it; write it too", prefixSecure)
	case !strings.HasPrefix(c.Path, "/"):
		return fmt.Errorf("path must begin with a slash, got %q", c.Path)
	}
	made := c.make(cmp.Or(c.Name, defaultName), true)
	if err := made.Valid(); err != nil {
		return fmt.Errorf("cookie %q: %w", made.Name, err)
	}
	if len(made.String()) > maxCookieSize-maxPoolInName-16 {
		return fmt.Errorf("the cookie would have more than %d bytes, which browsers reject; shorten its name, path or domain", maxCookieSize)
	}
	return nil
}

func (c *Cookie) checkSecrets() error {
	if c.Secret == "" && len(c.FormerSecrets) == 0 {
		return nil
	}
	for _, s := range c.secrets() {
		if len(s) < minSecret && !caddyfileutil.HasGlobal(s) {
			return fmt.Errorf("a secret must have at least %d characters, got %d", minSecret, len(s))
		}
	}
	return nil
}

// replacedSecrets returns all secrets, with placeholders replaced.
func (c *Cookie) replacedSecrets() (all []string, err error) {
	for _, text := range c.secrets() {
		secret, err := caddyfileutil.Global("secret", text)
		if err != nil {
			return nil, err
		}
		if len(secret) < minSecret {
			return nil, fmt.Errorf("a secret must have at least %d characters, and the value of %s has %d", minSecret, text, len(secret))
		}
		all = append(all, secret)
	}
	return all, nil
}

// secrets returns all secrets. The first one encrypts.
func (c *Cookie) secrets() []string { return append([]string{c.Secret}, c.FormerSecrets...) }

// names returns the names of the cookie of a scope: the name that is set, and further names
// that are accepted. Earlier versions used the default name for all pools.
func (c *Cookie) names(s scope) []string {
	switch {
	case c.Name != "":
		return []string{c.Name}
	case !s.named:
		return []string{defaultName}
	}
	return []string{defaultName + "_" + tokenOf(s.name), defaultName}
}

// tokenOf returns the name of a pool, or a replacement for a name that is long or not a token
// (RFC 6265, 4.1.1), and so cannot be part of a cookie name.
func tokenOf(pool string) string {
	token := strings.Map(func(r rune) rune {
		if (&http.Cookie{Name: string(r)}).Valid() != nil {
			return '_'
		}
		return r
	}, pool)
	if token == pool && len(token) <= maxPoolInName {
		return token
	}
	return fmt.Sprintf("%s_%08x", token[:min(len(token), maxPoolInName-9)], uint32(IDOf(pool)))
}

// make returns the cookie with a placeholder for its value.
func (c *Cookie) make(name string, secure bool) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: strings.Repeat("A", tokenSize), Path: c.Path, Domain: c.Domain,
		MaxAge: int(wholeSeconds(time.Duration(c.MaxAge))), HttpOnly: true, Secure: secure, SameSite: sameSites[c.SameSite],
	}
}

// sessions returns the session backend of the cookie.
func (c *Cookie) sessions(ctx caddy.Context, l Lifetimes) (k *cookieSessions, err error) {
	k = &cookieSessions{cookie: c, lifetimes: l}
	if c.Secret == "" {
		k.secrets = []string{storedSecret(ctx)}
	} else {
		k.secrets, err = c.replacedSecrets()
	}
	return k, err
}
