// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"net/http"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/attach"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// cookieKeeper keeps each session in a cookie.
type cookieKeeper struct {
	cookie    string // its name
	secrets   []string
	lifetimes Lifetimes
	head      string
	tails     [2]string // of a cookie set over HTTP and over HTTPS
	cacheable bool      // it is set with responses that shared caches may store, too

	codec *codec
	note  func(ID, Key)
}

func (k *cookieKeeper) open(s scope, note func(ID, Key)) (err error) {
	k.note = note
	k.codec, err = newCodec(s.ofCookies(), k.secrets...)
	return err
}

func (k *cookieKeeper) name() string { return "cookie " + k.cookie }

func (k *cookieKeeper) close() error { return nil }

// maxCookies bounds how many cookies of the name are looked at: there is one for
// each path and domain that it was set with.
const maxCookies = 4

func (k *cookieKeeper) find(r *http.Request) (s session) {
	s.keepable = true
	n := 0
	for _, line := range r.Header["Cookie"] {
		for line != "" && n < maxCookies {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if !ok || name != k.cookie {
				continue
			}
			n++
			token := strings.Trim(value, `"`)
			if b, current, ok := k.codec.decode(token); ok {
				if alive, refresh := k.lifetimes.Alive(b, now()); alive {
					s.Binding, s.bound, s.refresh = b, true, refresh || !current
					s.key = keyOf(token)
					return s
				}
			}
		}
	}
	return s
}

func (k *cookieKeeper) bind(r *http.Request, s session, to ID) ID {
	b := Binding{Backend: to, Issued: now(), Seen: now()}
	if s.bound {
		b.Issued = s.Issued
	}
	k.set(r, b, true)
	return to
}

func (k *cookieKeeper) use(r *http.Request, s session) {
	if s.refresh {
		k.set(r, Binding{Backend: s.Backend, Issued: s.Issued, Seen: now()}, false)
	}
}

// keyOf returns the key of a session whose cookie has a token.
func keyOf(token string) Key { return Key(xxhash.Sum64String(token)) }

// set has the cookie be set with the response, if one comes.
func (k *cookieKeeper) set(r *http.Request, b Binding, bound bool) {
	attach.Listen(r, &setting{k, b, bound, secure(r)})
}

// setting is a cookie that is to be set.
type setting struct {
	keeper  *cookieKeeper
	binding Binding
	bound   bool // by this request; else the session is refreshed, and was noted
	secure  bool
}

// Answered implements [attach.Listener].
func (s *setting) Answered(req *http.Request, res *http.Response, _ *backend.Backend) {
	k := s.keeper
	if !k.cacheable && storable(req, res) {
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

// secure reports whether a request has come over HTTPS, to here or to a proxy that
// is trusted: reverse_proxy has seen to the field, whatever a client wrote there.
func secure(r *http.Request) bool {
	lines := r.Header["X-Forwarded-Proto"]
	return r.TLS != nil || len(lines) > 0 && strings.EqualFold(lines[len(lines)-1], "https")
}
