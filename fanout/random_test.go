// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// writes is what backends know of the writes that they got. Safe for concurrent use.
type writes struct {
	t *testing.T

	mu       sync.Mutex
	accepted map[string]time.Time // when the header was sent, by key and address
	out      map[string]time.Time // since when a backend must get nothing, by address
}

// backend returns a backend that does anything, and sees whether it should have been asked.
func (l *writes) backend(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key") + " " + address
		l.mu.Lock()
		if since, out := l.out[address]; out && time.Now().After(since) {
			l.t.Errorf("%s got a request %v after it was taken out", address, time.Since(since))
		}
		l.mu.Unlock()
		wait := time.Duration(rand.IntN(3000)) * time.Millisecond
		switch rand.IntN(8) {
		case 0:
			reset(w, r)
			return
		case 1:
			hang(w, r)
			return
		case 2, 3:
			after(wait, says(500, ""))(w, r)
			return
		case 4:
			wait = 0
		}
		lbtest.Wait(r.Context(), wait)
		if r.Context().Err() != nil {
			return
		}
		l.mu.Lock()
		if l.accepted[key].IsZero() {
			l.accepted[key] = time.Now()
		}
		l.mu.Unlock()
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "x")
		lbtest.Wait(r.Context(), time.Duration(rand.IntN(2000))*time.Millisecond)
	}
}

// set makes address be taken out, or not, from now on.
func (l *writes) set(address string, out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.out, address); out {
		l.out[address] = time.Now()
	}
}

// Whatever operators and reloads do meanwhile, a fan-out ends in time, asks nobody who was taken out, and reports the truth;
// and nothing is left of it.
func TestRandomSchedules(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			l := &writes{t: t, accepted: make(map[string]time.Time), out: make(map[string]time.Time)}
			addresses := []string{"a:1", "b:1", "c:1"}
			members := make(servers)
			for _, a := range addresses {
				members[a] = l.backend(a)
			}
			load := func() *site {
				limit := []string{``, `,"max_requests":2`, `,"max_requests":1,"queue":{"size":100,"timeout":"5s"}`}[rand.IntN(3)]
				return newSite(t, members, web(limit+[]string{``, `,"on_down":"close"`, `,"outliers":{"off":true}`}[rand.IntN(3)]),
					`"pool":"web","timeout":"10s","backoff":{"base":"500ms","max":"4s"},"retries":2,"quorum":"`+[]string{"all", "majority", "1", "2"}[rand.IntN(4)]+`"`+
						[]string{"", `,"detach":true`}[rand.IntN(2)]+summary)
			}
			s := load()
			var clients sync.WaitGroup
			for n := range 40 {
				key := fmt.Sprint("key", n)
				current := s
				clients.Go(func() {
					req := post("x")
					req.Header.Set("Idempotency-Key", key)
					r := current.do(req)
					if r.status == http.StatusServiceUnavailable {
						return
					}
					rep, now := r.report(t), time.Now()
					if r.took > 12*time.Second || (r.status == 200) != (rep.Accepted >= rep.Needed) {
						t.Errorf("got %d after %v: %s", r.status, r.took, r.body)
					}
					l.mu.Lock()
					defer l.mu.Unlock()
					for _, a := range rep.Have {
						if l.accepted[key+" "+a].IsZero() {
							t.Errorf("%s does not have the write", a)
						}
					}
					for _, a := range rep.HaveNot {
						if at := l.accepted[key+" "+a]; !at.IsZero() && at.Before(now) {
							t.Errorf("%s has the write since %v", a, now.Sub(at))
						}
					}
				})
				time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond)
				a, m := addresses[rand.IntN(len(addresses))], pool.Current("web").Manager()
				admin := []health.Admin{health.Ready, health.Ready, health.Drain, health.Maint}[rand.IntN(4)]
				switch rand.IntN(6) {
				case 0, 1, 2:
					if _, err := m.Change(a, membership.Change{Admin: &admin}); err == nil {
						l.set(a, admin != health.Ready)
					}
				case 3:
					if _, err := m.Remove(a, membership.Removal{}); err == nil {
						l.set(a, true)
					}
				case 4:
					if _, err := m.Add(membership.Addition{Address: a, Settings: backend.Settings{ID: a}}); err == nil {
						l.set(a, false)
					}
				case 5:
					old := s
					s = load()
					old.Close()
					for _, b := range pool.Current("web").View().Members.All {
						if b.Admitted() { // a removal ends when the backend is configured anew
							l.set(b.Address, false)
						}
					}
				}
			}
			clients.Wait()
			pass()
			for _, b := range pool.Current("web").View().Members.All {
				if totals := b.Totals(); b.Taken() != 0 || totals.InFlight != 0 {
					t.Errorf("%s: %d slots are taken, %d in flight", b.ID, b.Taken(), totals.InFlight)
				}
			}
			equal(t, "left", s.metric(t, "requests_in_flight")+s.metric(t, "body_bytes"), 0)
			for _, a := range slices.Clone(addresses) {
				_, _ = pool.Current("web").Manager().Change(a, membership.Change{Admin: new(health.Ready)})
			}
		})
	}
}
