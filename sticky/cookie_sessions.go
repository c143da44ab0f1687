// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// cookieSessions keeps each session in a cookie.
type cookieSessions struct {
	cookie    *Cookie
	secrets   []string
	lifetimes Lifetimes

	names []string // see Cookie.names
	head  string
	tails [2]string // attributes of a cookie set over HTTP, and over HTTPS
	codec *codec
	note  func(ID, Key)
}

func (k *cookieSessions) open(s scope, note func(ID, Key)) (err error) {
	k.note, k.names = note, k.cookie.names(s)
	for i, secure := range []bool{k.cookie.Secure, true} {
		made := k.cookie.make(k.names[0], secure).String()
		k.head, k.tails[i], _ = strings.Cut(made, strings.Repeat("A", tokenSize))
	}
	k.codec, err = newCodec(s.ofCookies(), k.secrets...)
	return err
}

func (k *cookieSessions) name() string { return "cookie " + k.names[0] }

func (k *cookieSessions) close() error { return nil }

// maxTokens bounds the number of cookies that are decrypted: more than browsers keep for a
// site, so that cookies set by another host of the domain hide none.
const maxTokens = 256

// find looks for a session among all cookies with the names. There may be one for each path and
// domain that it was set with, and others that another party has added. The first one of a
// known backend is used.
func (k *cookieSessions) find(r *http.Request, members map[ID]boundBackend) (s session) {
	s.keepable = true
	lines, tokens := r.Header["Cookie"], 0
	for n, name := range k.names {
		for _, line := range lines {
			for line != "" && tokens < maxTokens {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				got, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
				token := strings.Trim(value, `"`)
				if !ok || got != name || len(token) != tokenSize {
					continue
				}
				tokens++
				b, current, ok := k.codec.decode(token)
				if !ok {
					s.foreign = token
					continue
				}
				alive, refresh := k.lifetimes.Alive(b, now())
				if _, known := members[b.Backend]; !alive || !known && s.bound {
					continue
				} else if !known {
					s.foreign = token
				}
				s.Binding, s.bound, s.refresh = b, true, refresh || !current || n > 0
				if s.key = keyOf(token); s.foreign != token {
					return s
				}
			}
		}
	}
	return s
}

// strip returns the request for the backend: without the cookie, and with all others unchanged.
func (k *cookieSessions) strip(r *http.Request) *http.Request {
	var kept []string
	found := false
	for _, line := range r.Header["Cookie"] {
		rest := ""
		for pair := range strings.SplitSeq(line, ";") {
			if name, _, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && slices.Contains(k.names, name) {
				found = true
			} else {
				rest += ";" + pair
			}
		}
		if rest = strings.TrimLeft(rest, "; "); rest != "" {
			kept = append(kept, rest)
		}
	}
	if !found {
		return r
	}
	stripped := new(http.Request)
	*stripped = *r
	stripped.Header = maps.Clone(r.Header) // a transport must not change the request that it is given
	if stripped.Header["Cookie"] = kept; kept == nil {
		delete(stripped.Header, "Cookie")
	}
	return stripped
}

func (k *cookieSessions) bind(r *http.Request, s session, to ID) ID {
	b := Binding{Backend: to, Issued: now(), Seen: now()}
	if s.bound {
		b.Issued = s.Issued
	}
	k.set(r, b, true)
	return to
}

func (k *cookieSessions) use(r *http.Request, s session) {
	if s.refresh {
		k.set(r, Binding{Backend: s.Backend, Issued: s.Issued, Seen: now()}, false)
	}
}

// keyOf returns the key of a session from the token of its cookie.
func keyOf(token string) Key { return Key(xxhash.Sum64String(token)) }

// set makes the response, if there is one, set the session cookie.
func (k *cookieSessions) set(r *http.Request, b Binding, bound bool) {
	proxyhook.SetListener(r, &cookieSetter{k, b, bound, secure(r)})
}

// cookieSetter sets a cookie in a response.
type cookieSetter struct {
	sessions *cookieSessions
	binding  Binding
	bound    bool // by this request; else the session is refreshed, and its use was recorded
	secure   bool
}

// Answered implements [proxyhook.AnswerListener].
func (s *cookieSetter) Answered(req *http.Request, res *http.Response, _ *backend.Backend) {
	k := s.sessions
	if !k.cookie.Cacheable && storable(req, res) {
		return
	}
	tail := k.tails[0]
	if s.secure {
		tail = k.tails[1]
	}
	token := k.codec.encode(s.binding)
	res.Header["Set-Cookie"] = append(res.Header["Set-Cookie"], k.head+token+tail)
	if s.bound {
		k.note(s.binding.Backend, keyOf(token))
	}
}

// secure reports whether a request was sent over HTTPS, to Caddy or to a trusted proxy. It may
// rely on X-Forwarded-Proto, since reverse_proxy removes or replaces the field of an untrusted
// client.
func secure(r *http.Request) bool {
	lines := r.Header["X-Forwarded-Proto"]
	return r.TLS != nil || len(lines) > 0 && strings.EqualFold(lines[len(lines)-1], "https")
}
