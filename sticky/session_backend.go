// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// sessionBackend finds and binds sessions, by cookie or in a store.
type sessionBackend interface {
	// open opens the sessions of a scope, in place of those of the previous scope. The backend
	// calls note for each session that it has bound.
	open(s scope, note func(ID, Key)) error
	// name identifies the kind of the sessions.
	name() string
	// find returns the session of a request. members are the current backends.
	find(r *http.Request, members map[ID]boundBackend) session
	// bind binds a session to a backend, if it is new or still bound as it was found, and
	// returns the resulting backend. It is called after the attempt was announced.
	bind(r *http.Request, s session, to ID) ID
	// use records the use of a session, if that is due.
	use(r *http.Request, s session)
	close() error
}

// session is the result of find for a request.
type session struct {
	Binding
	key       Key    // stable in a store; changes with each refresh of a cookie
	keepable  bool   // else the request has no session and gets none
	bound     bool   // to Backend
	refresh   bool   // its use must be recorded
	beginning bool   // an earlier attempt of this request has bound it
	foreign   string // possibly the token of another pool's session; empty for none
}

// storeSessions keeps sessions in a store, by a key of the request.
type storeSessions struct {
	kind      string
	key       httpx.RequestKey
	other     *httpx.RequestKey // for requests without the key; nil for none
	learns    bool              // sessions begin with responses, not with requests
	store     Store
	lifetimes Lifetimes
	timeout   time.Duration // of a request for each call of the store
	logger    *zap.Logger

	sessions Sessions
	note     func(ID, Key)
	local    bool // the store never blocks
	breaker  storeBreaker
}

func (k *storeSessions) open(s scope, note func(ID, Key)) error {
	sessions, err := k.store.Open(s.String()+"\n"+k.kind, k.lifetimes)
	if err != nil {
		return err
	}
	if k.sessions != nil {
		_ = k.sessions.Close()
	}
	k.sessions, k.note = sessions, note
	_, k.local = sessions.(Local)
	return nil
}

func (k *storeSessions) name() string { return k.kind }

func (k *storeSessions) close() error {
	if k.sessions == nil {
		return nil
	}
	return k.sessions.Close()
}

// otherKeys separates the keys of clients without an id from hashes of ids.
const otherKeys = 0x9e3779b97f4a7c15

// ask calls f, which uses the store, unless the breaker is open. It reports whether f has succeeded.
func (k *storeSessions) ask(r *http.Request, f func(ctx context.Context) error) bool {
	if k.local {
		return f(r.Context()) == nil
	}
	if !k.breaker.allows() {
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), k.timeout)
	defer cancel()
	err := f(ctx)
	if err != nil && r.Context().Err() != nil {
		return false // the client has left, which is no failure of the store
	}
	if changed := k.breaker.record(err == nil); changed && err != nil {
		k.logger.Warn("session store is unavailable; continuing without sessions", zap.Error(err))
	} else if changed {
		k.logger.Info("session store is available again")
	}
	return err == nil
}

func (k *storeSessions) find(r *http.Request, _ map[ID]boundBackend) (s session) {
	hash, ok := k.key.Hash(r)
	if !ok && k.other != nil {
		hash, ok = k.other.Hash(r)
		hash ^= otherKeys
	}
	if !ok {
		return s
	}
	s.key = Key(hash)
	s.keepable = k.ask(r, func(ctx context.Context) (err error) {
		s.Binding, s.bound, err = k.sessions.Get(ctx, s.key)
		return err
	})
	s.keepable = s.keepable && (s.bound || !k.learns)
	if s.bound {
		s.bound, s.refresh = k.lifetimes.Alive(s.Binding, now())
		began, _ := caddyhttp.GetVar(r.Context(), beganVar).(pendingSession)
		s.beginning = began == pendingSession{k, s.key}
	}
	return s
}

// pendingSession is the session that a request has begun. It is not yet bound to a backend that
// failed to respond.
type pendingSession struct {
	sessions *storeSessions
	key      Key
}

const beganVar = "ballast.session_began"

func (k *storeSessions) bind(r *http.Request, s session, to ID) ID {
	b := Binding{Backend: to, Issued: now(), Seen: now()}
	if s.bound {
		b.Issued = s.Issued
	}
	winner := to
	k.ask(r, func(ctx context.Context) error {
		var got Binding
		var err error
		if s.bound {
			got, err = k.sessions.Move(ctx, s.key, s.Backend, b)
		} else {
			got, err = k.sessions.BindIfAbsent(ctx, s.key, b)
		}
		if err == nil {
			winner = got.Backend
			k.note(winner, s.key)
		}
		return err
	})
	if !s.bound {
		caddyhttp.SetVar(r.Context(), beganVar, pendingSession{k, s.key})
	}
	return winner
}

func (k *storeSessions) use(r *http.Request, s session) {
	if s.refresh {
		k.ask(r, func(ctx context.Context) error { return k.sessions.Touch(ctx, s.key, now()) })
	}
}
