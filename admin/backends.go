// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

const (
	// maxBody is the most bytes of a body; a hundred entries of meta need as much.
	maxBody = 256 << 10
	// maxDrain is the longest that a request may wait for a backend to drain.
	maxDrain = 24 * time.Hour
	// refreshEvery is the interval at which drain checks the backend.
	refreshEvery = 20 * time.Millisecond
)

func addBackend(p *pool.Pool, w http.ResponseWriter, r *http.Request) {
	var body AddRequest
	err := httpx.DecodeRequest(r, maxBody, &body)
	if err != nil {
		refuse(w, err)
		return
	}
	a := membership.Addition{Address: body.Address, Settings: body.Settings, Who: whoAsks(r)}
	if a.Verified, err = verify(r.Context(), p, &body); err != nil {
		refuse(w, err)
		return
	}
	b, err := p.Manager().Add(a)
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Location", join("pools", p.Name, "backends", b.ID))
	answer(w, http.StatusCreated, report.OfBackend(current(p), b))
}

// verify probes a backend that is to be added, if that is wanted, and reports whether it has passed.
func verify(ctx context.Context, p *pool.Pool, body *AddRequest) (verified bool, err error) {
	m := p.Manager()
	if body.Verify != nil && !*body.Verify {
		return false, nil
	}
	if address, err := m.Canonical(body.Address); err == nil && p.Find(address) != nil || body.ID != "" && p.Get(body.ID) != nil {
		return false, nil // Add says that it exists
	}
	err = m.Verify(ctx, membership.Addition{Address: body.Address, Settings: body.Settings})
	if errors.Is(err, membership.ErrNotAlive) {
		err = fmt.Errorf("%w; it was not added: send \"verify\": false, or write --verify off, to add it all the same", err)
	}
	return err == nil, err
}

// current returns the running pool with the name of p, which a reload may have replaced.
func current(p *pool.Pool) *pool.Pool {
	if now := pool.Current(p.Name); now != nil {
		return now
	}
	return p
}

// target identifies one backend of a pool.
type target struct {
	id  string
	api *API
}

func (t target) show(p *pool.Pool, w http.ResponseWriter, _ *http.Request) {
	b := p.Get(t.id)
	if b == nil {
		t.refuse(p, w, membership.ErrUnknown)
		return
	}
	answer(w, http.StatusOK, report.OfBackend(p, b))
}

var admins = []string{"ready", "drain", "maint"}

func (t target) change(p *pool.Pool, w http.ResponseWriter, r *http.Request) {
	var body ChangeRequest
	if err := httpx.DecodeRequest(r, maxBody, &body); err != nil {
		refuse(w, err)
		return
	}
	var c membership.Change
	if body.State != "" {
		n := slices.Index(admins, body.State)
		if n < 0 {
			refuse(w, fmt.Errorf("state must be ready, drain or maint, got %q", body.State))
			return
		}
		state := health.Admin(n)
		c.Admin = &state
	}
	if body.Weight.Given {
		c.Weight = &membership.Override{Value: body.Weight.Value}
	}
	if body.MaxRequests.Given {
		c.MaxRequests = &membership.Override{Value: body.MaxRequests.Value}
	}
	if c == (membership.Change{}) {
		refuse(w, errors.New("there is nothing to change; send weight, state or max_requests"))
		return
	}
	switch body.For {
	case "", "instance":
	case "address":
		c.ForAddress = true
	default:
		refuse(w, fmt.Errorf("for must be instance or address, got %q", body.For))
		return
	}
	c.Who = whoAsks(r)
	b, err := p.Manager().Change(t.id, c)
	if err != nil {
		t.refuse(p, w, err)
		return
	}
	answer(w, http.StatusOK, report.OfBackend(current(p), b))
}

func (t target) remove(p *pool.Pool, w http.ResponseWriter, r *http.Request) {
	wait := time.Duration(0)
	query := r.URL.Query()
	if err := httpx.CheckQuery(query, "drain"); err != nil {
		refuse(w, err)
		return
	}
	if text := query.Get("drain"); query.Has("drain") {
		var err error
		if wait, err = caddy.ParseDuration(text); err != nil || wait < 0 || wait > maxDrain {
			refuse(w, fmt.Errorf("drain must be a duration from 0 to %v such as 30s, got %q", maxDrain, text))
			return
		}
	}
	began := time.Now()
	if wait > 0 {
		if err := t.drain(p, w, r, wait); err != nil {
			return
		}
	}
	b, err := p.Manager().Remove(t.id, membership.Removal{Who: whoAsks(r)})
	if err != nil {
		t.refuse(p, w, err)
		return
	}
	out := Removed{ID: b.ID, Address: b.Address, InFlight: b.InFlight(), Emptied: !b.InUse(), Waited: time.Since(began).Seconds()}
	out.Sessions = report.OfSessions(current(p).Sessions(b))
	out.Warning = report.Unserved(current(p))
	answer(w, http.StatusOK, out)
}

// errAnswered means that the request has been answered.
var errAnswered = errors.New("answered")

// drained reports whether a backend is free, on all instances of a fleet.
func drained(p *pool.Pool, b *backend.Backend) bool {
	if m := p.Manager(); m != nil {
		if verdict := m.FleetDrain(b); verdict != nil && !verdict.Safe {
			return false
		}
	}
	return p.Drained(b)
}

// drain drains a backend and waits until it has no requests in flight, on any instance of a fleet. A
// backend in maintenance stays in maintenance.
func (t target) drain(p *pool.Pool, w http.ResponseWriter, r *http.Request, wait time.Duration) error {
	b := p.Get(t.id)
	if b == nil {
		t.refuse(p, w, membership.ErrUnknown)
		return errAnswered
	}
	if b.AdminState() == health.Ready {
		state := health.Drain
		if _, err := p.Manager().Change(t.id, membership.Change{Admin: &state, Who: whoAsks(r)}); err != nil && !errors.Is(err, membership.ErrNotKept) {
			t.refuse(p, w, err)
			return errAnswered
		}
	}
	end := t.api.endOf(w, r)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for !drained(current(p), b) {
		select {
		case <-tick.C:
		case <-end:
			fail(w, http.StatusServiceUnavailable, errors.New("a reload replaces the admin endpoint; the backend is drained but not removed; repeat the request"))
			return errAnswered
		case <-ctx.Done():
			if r.Context().Err() != nil { // the client has left; the backend stays drained
				return errAnswered
			}
			return nil
		}
	}
	return nil
}
