// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// Learn uses the session id that the application sends in its responses. Set one of the two.
type Learn struct {
	// Cookie is the name of the cookie that the application sets.
	Cookie string `json:"cookie,omitempty"`
	// Header is the field in which the application sends the id, and in which clients return
	// it.
	Header string `json:"header,omitempty"`
}

// maxLearned is the maximum length of an id, in bytes. Longer ids are ignored.
const maxLearned = 1024

// maxPerResponse is the maximum number of ids that are learned from one response.
const maxPerResponse = 4

func (l *Learn) check() error {
	if (l.Cookie == "") == (l.Header == "") {
		return fmt.Errorf("learn needs one of cookie and header; write `learn cookie <name>` or `learn header <field>`")
	}
	if l.Cookie != "" {
		return httpx.CheckCookie("learn cookie", l.Cookie)
	}
	return httpx.CheckField("learn header", l.Header)
}

// key returns the kind of the sessions, and the key of the id in requests.
func (l *Learn) key() (kind string, k httpx.RequestKey, err error) {
	if l.Cookie != "" {
		k, err = httpx.NewRequestKey("cookie", l.Cookie)
		return "learn cookie " + l.Cookie, k, err
	}
	field := textproto.CanonicalMIMEHeaderKey(l.Header)
	k, err = httpx.NewRequestKey("header", field)
	return "learn header " + field, k, err
}

// learner binds a session that begins with a response to the backend of the response. It is
// read-only.
type learner struct {
	*storeSessions
	Learn
}

// Answered implements [proxyhook.AnswerListener].
func (l *learner) Answered(req *http.Request, res *http.Response, b *backend.Backend) {
	for n, id := range l.ids(res.Header) {
		if n == maxPerResponse {
			break
		}
		if id == "" || len(id) > maxLearned {
			continue
		}
		binding := Binding{Backend: idOf(b), Issued: now(), Seen: now()}
		l.ask(req, func(ctx context.Context) error {
			k := Key(xxhash.Sum64String(id))
			winner, err := l.sessions.BindIfAbsent(ctx, k, binding)
			if err == nil {
				l.note(winner.Backend, k)
			}
			return err
		})
	}
}

// ids returns the ids that a response sets, without those whose cookie it deletes.
func (l *learner) ids(header http.Header) (ids []string) {
	if l.Header != "" {
		return header.Values(l.Header)
	}
	for _, line := range header["Set-Cookie"] {
		pair, attributes, _ := strings.Cut(line, ";")
		id := httpx.RequestCookies([]string{pair}, l.Cookie)
		if id == "" {
			continue
		}
		if c, err := http.ParseSetCookie("any=;" + attributes); err == nil && (c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now())) {
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// Interface guards
var _ proxyhook.AnswerListener = (*learner)(nil)
