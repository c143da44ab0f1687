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
)

// Cookie is how a cookie tells the backend of a session. It is always HttpOnly.
type Cookie struct {
	// Name is the cookie's name. Different pools on one site need different names,
	// unless their paths differ. Default: ballast_ and the name of the pool; where
	// that has none, and on lists, ballast.
	Name string `json:"name,omitempty"`
	// Secret encrypts and signs the cookie, of at least 16 characters. Instances
	// that have the same one honour each other's cookies. Default: one that is
	// made once and kept in Caddy's storage, so that instances with the same
	// storage have it.
	Secret string `json:"secret,omitempty"`
	// FormerSecrets are accepted, too. To change the secret without ending
	// sessions, add the new one here on all instances first, and then exchange
	// it with Secret.
	FormerSecrets []string `json:"former_secrets,omitempty"`
	// Path is the path that clients send the cookie for. Default: /.
	Path string `json:"path,omitempty"`
	// Domain is the domain whose hosts clients send the cookie to. Default: the
	// host of the request alone.
	Domain string `json:"domain,omitempty"`
	// SameSite is lax, strict or none, which needs Secure. Default: lax.
	SameSite string `json:"same_site,omitempty"`
	// Secure has clients send the cookie over HTTPS only. Default: if it was set
	// over HTTPS, also where a trusted proxy says so in X-Forwarded-Proto.
	Secure bool `json:"secure,omitempty"`
	// Cacheable has the cookie be set also with responses that a shared cache may
	// store, which would give it to others. Default: it is not; a session begins
	// with the first response that is not for a cache.
	Cacheable bool `json:"cacheable,omitempty"`
	// MaxAge is for how long clients keep the cookie after it was last set, at
	// least 1s. Default: as long as the browser runs.
	MaxAge caddy.Duration `json:"max_age,omitempty"`
	// Indirect keeps the cookie from the backends: they see the client's other
	// cookies only. Default: they see all.
	Indirect bool `json:"indirect,omitempty"`
}

const (
	defaultName   = "ballast"
	minSecret     = 16
	prefixHost    = "__Host-"
	prefixSecure  = "__Secure-"
	sameSiteNone  = "none"
	maxCookieSize = 4096 // what browsers keep
	maxPoolInName = 64   // bytes of a pool's name in the default name
)

var sameSites = map[string]http.SameSite{"lax": http.SameSiteLaxMode, "strict": http.SameSiteStrictMode, sameSiteNone: http.SameSiteNoneMode}

// check sets defaults and says what is wrong.
func (c *Cookie) check() error {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == "" {
		c.SameSite = "lax"
	}
	if sameSites[c.SameSite] == 0 {
		return fmt.Errorf("same_site must be lax, strict or none, got %q", c.SameSite)
	}
	if c.SameSite == sameSiteNone && !c.Secure {
		return fmt.Errorf("same_site none needs `secure`, or browsers refuse the cookie; write it too")
	}
	if err := lifetimes.Check("max_age", c.MaxAge); err != nil {
		return err
	}
	if err := c.checkSecrets(); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(c.Name, prefixHost) && (!c.Secure || c.Path != "/" || c.Domain != ""):
		return fmt.Errorf("a cookie named %s... needs `secure`, the path / and no domain, or browsers refuse it", prefixHost)
	case strings.HasPrefix(c.Name, prefixSecure) && !c.Secure:
		return fmt.Errorf("a cookie named %s... needs `secure`, or browsers refuse it; write it too", prefixSecure)
	case !strings.HasPrefix(c.Path, "/"):
		return fmt.Errorf("path must begin with a slash, got %q", c.Path)
	}
	made := c.make(cmp.Or(c.Name, defaultName), true)
	if err := made.Valid(); err != nil {
		return fmt.Errorf("cookie %q: %w", made.Name, err)
	}
	if len(made.String()) > maxCookieSize-maxPoolInName-16 {
		return fmt.Errorf("the cookie would have more than %d bytes, which browsers refuse; shorten its name, path or domain", maxCookieSize)
	}
	return nil
}

func (c *Cookie) checkSecrets() error {
	if c.Secret == "" && len(c.FormerSecrets) == 0 {
		return nil
	}
	for _, s := range c.secrets() {
		if len(s) < minSecret {
			return fmt.Errorf("a secret must have at least %d characters, got %d", minSecret, len(s))
		}
	}
	return nil
}

// secrets returns all secrets, the one to write with first.
func (c *Cookie) secrets() []string { return append([]string{c.Secret}, c.FormerSecrets...) }

// names returns the names of the cookie of a scope: the one that it is set with, and
// those that are accepted too. All pools had the default name of those without a name
// once.
func (c *Cookie) names(s scope) []string {
	switch {
	case c.Name != "":
		return []string{c.Name}
	case !s.named:
		return []string{defaultName}
	}
	return []string{defaultName + "_" + tokenOf(s.name), defaultName}
}

// tokenOf returns a pool's name, or what stands for one that cannot be in the name of
// a cookie, which is a token (RFC 6265, 4.1.1), or is long.
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

// make returns the cookie, with the value that stands for any.
func (c *Cookie) make(name string, secure bool) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: strings.Repeat("A", tokenSize), Path: c.Path, Domain: c.Domain,
		MaxAge: int(wholeSeconds(time.Duration(c.MaxAge))), HttpOnly: true, Secure: secure, SameSite: sameSites[c.SameSite],
	}
}

// sessions returns what keeps sessions in the cookie.
func (c *Cookie) sessions(ctx caddy.Context, l Lifetimes) *cookieSessions {
	k := &cookieSessions{cookie: c, secrets: c.secrets(), lifetimes: l}
	if c.Secret == "" {
		k.secrets = []string{storedSecret(ctx)}
	}
	return k
}
