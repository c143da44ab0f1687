// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// groupWorld is what the backends of a schedule do, and what they have seen.
type groupWorld struct {
	mu       sync.Mutex
	ill      map[string]string    // what is wrong with a backend: status, refused or late
	closed   time.Time            // since when the group is aborted; zero for not
	out      map[string]time.Time // since when a backend is in maintenance
	limited  bool                 // the backends of the group may have one request in flight each
	matched  bool                 // the group gets the requests with kindField, which are long polls, and no others
	busy     map[string]int       // requests in flight
	problems []string
}

// kindField is in the header of the requests that the matcher of a group selects.
const kindField = "X-Kind"

func (w *groupWorld) answer(address string) lbtest.Answerer {
	canary := strings.Contains("c:1 d:1 e:1", address)
	return func(req *http.Request) (int, error) {
		n, _ := strconv.ParseInt(req.Header.Get("X-Began"), 10, 64)
		began := time.Unix(0, n)
		w.mu.Lock()
		ill := w.ill[address]
		if canary && !w.closed.IsZero() && w.closed.Before(began) {
			w.problems = append(w.problems, fmt.Sprintf("%s got a request although the group is aborted", address))
		}
		poll := w.matched && req.Header.Get(kindField) != ""
		if canary && w.matched && !poll {
			w.problems = append(w.problems, fmt.Sprintf("%s got a request that the group's matcher does not select", address))
		}
		if since, ok := w.out[address]; ok && since.Before(began) {
			w.problems = append(w.problems, fmt.Sprintf("%s got a request in maintenance", address))
		}
		if w.busy[address]++; canary && w.limited && w.busy[address] > 1 {
			w.problems = append(w.problems, fmt.Sprintf("%s has %d requests in flight, and may have 1", address, w.busy[address]))
		}
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.busy[address]--
		}()
		switch {
		case ill == "status":
			return http.StatusServiceUnavailable, nil
		case ill == "refused":
			return lbtest.Refused(req)
		case poll:
			lbtest.Wait(req.Context(), 3*time.Second)
		case ill == "late":
			lbtest.Wait(req.Context(), 300*time.Millisecond)
		default:
			lbtest.Wait(req.Context(), 5*time.Millisecond)
		}
		if err := req.Context().Err(); err != nil {
			return 0, err
		}
		return http.StatusOK, nil
	}
}

// Random schedules of a pool with a group, whose backends fail, drain, come and go, and whose rollout is paused,
// aborted and resumed, over reloads, with checks, tiers, retries, second attempts and sessions: an aborted group and a
// backend in maintenance get nothing new, a group gets no request that its matcher does not select, no client sees an
// error while a backend of the main group serves and none of the group is full, none gets more than it may, long polls are
// no stalls, and no slot is lost.
func TestGroupCrossings(t *testing.T) {
	policies := []string{
		`{"policy":"p2c"}`, `{"policy":"wrr"}`, `{"policy":"least_request"}`, `{"policy":"rendezvous","key":"header","key_name":"X-S"}`,
		`{"policy":"ring_hash","key":"header","key_name":"X-S","bounded_load":1.25}`, `{"policy":"sticky","header":"X-S"}`, `{"policy":"prequal"}`,
	}
	first := rand.Uint64N(1 << 32)
	for seed := first; seed < first+5; seed++ {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			w := &groupWorld{ill: make(map[string]string), out: make(map[string]time.Time), busy: make(map[string]int), limited: random.IntN(3) == 0}
			backends := make(lbtest.Backends)
			for _, a := range []string{"a:1", "b:1", "c:1", "d:1", "e:1"} {
				backends[a] = w.answer(a)
			}
			hedge, outliers, limit, queue, checks, tier := "", "", "", "", "", ""
			var maxRequests *int
			if w.limited {
				maxRequests = new(1)
				limit, queue = `,"max_requests":1`, `,"queue":{"size":5,"timeout":"50ms"}`
			}
			if random.IntN(2) == 0 {
				hedge = `,"hedge":{"quantile":0.9,"max":0.5}`
			}
			if random.IntN(2) == 0 {
				outliers = `,"outliers":{"off":true}`
			}
			if random.IntN(2) == 0 {
				checks = "," + check(t, "")
			}
			if random.IntN(3) == 0 {
				tier = `,"tier":1`
			}
			w.matched = random.IntN(3) == 0
			probed := newWorld(t)
			var ejections []func() []string // of each configuration
			policy := policies[random.IntN(len(policies))]
			var p *lbtest.Proxy
			start := func() {
				old := p
				gets := `"share":` + []string{"0.3", "0.6"}[random.IntN(2)] + `,"key":"header","key_name":"X-S"`
				if w.matched {
					gets = fmt.Sprintf(`"when":[{"header":{%q:["poll"]}}]`, kindField)
				}
				config := fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":%s},"dynamic_upstreams":{"source":"pool","name":"web",
					"backends":[{"dial":"a:1"},{"dial":"b:1"%s}],"retry":{"tries":4,"on":["connect","reset","503"]}%s%s%s%s,
					"groups":[{"name":"canary","fallback":true,%s,"backends":[{"dial":"c:1"%s},{"dial":"d:1"%s%s}]}]}}`,
					policy, tier, hedge, outliers, queue, checks, gets, limit, limit, tier)
				next, err := lbtest.Load(t, nil, config, backends)
				if err != nil {
					t.Fatal(err)
				}
				if p = next; old != nil {
					old.Close()
				}
				ejections = append(ejections, events(t, p, "backend_ejected"))
			}
			start()
			defer func() { p.Close() }()
			var wg sync.WaitGroup
			var log []string
			settled := func() bool { return pool.Current("web").Groups().Find("canary").Rollout.Open() }
			for range 60 {
				address := []string{"b:1", "c:1", "d:1", "e:1"}[random.IntN(4)]
				web := pool.Current("web")
				switch kind := random.IntN(10); kind {
				case 0, 1:
					ill := []string{"", "status", "refused", "late"}[random.IntN(4)]
					if w.matched && ill == "late" { // of a late backend a stall may be believed
						ill = ""
					}
					log = append(log, address+" ill "+ill)
					w.mu.Lock()
					w.ill[address] = ill
					w.mu.Unlock()
					probed.set(func() { probed.sick[address] = ill == "refused" })
				case 2, 3, 4:
					admin := []health.Admin{health.Ready, health.Drain, health.Maint}[kind-2]
					log = append(log, address+" "+admin.String())
					if _, err := web.Manager().Change(address, membership.Change{Admin: &admin}); err == nil {
						w.mu.Lock()
						if delete(w.out, address); admin == health.Maint {
							w.out[address] = time.Now()
						}
						w.mu.Unlock()
					}
				case 5, 6:
					a := []rollout.Action{rollout.Abort, rollout.Resume, rollout.Pause, rollout.Promote}[random.IntN(4)]
					if w.matched && a == rollout.Promote { // it gives the group all requests
						a = rollout.Abort
					}
					log = append(log, string(a))
					_ = web.Manager().Rollout("canary", a, "")
				case 7:
					log = append(log, "reload")
					start()
				case 8:
					log = append(log, "add e:1")
					_, _ = web.Manager().Add(membership.Addition{Address: "e:1", Settings: backend.Settings{Group: "canary", MaxRequests: maxRequests}})
				case 9:
					log = append(log, "remove e:1")
					if _, err := web.Manager().Remove("e:1", membership.Removal{}); err == nil {
						w.mu.Lock()
						delete(w.out, "e:1")
						w.mu.Unlock()
					}
				}
				w.mu.Lock()
				if settled() {
					w.closed = time.Time{}
				} else if w.closed.IsZero() {
					w.closed = time.Now()
				}
				w.mu.Unlock()
				time.Sleep(time.Duration(1+random.IntN(50)) * time.Millisecond)
				for range 1 + random.IntN(10) {
					req := newRequest()
					client := random.IntN(20)
					req.Header.Set("X-S", fmt.Sprint(client))
					if client%2 == 0 { // all requests of a session are of one kind, as they stay in its group
						req.Header.Set(kindField, "poll")
					}
					req.Header.Set("X-Began", fmt.Sprint(time.Now().UnixNano()))
					wg.Go(func() {
						if r := p.Serve(req); !w.limited && (r.Code != http.StatusOK || r.Err != nil) {
							w.mu.Lock()
							defer w.mu.Unlock()
							w.problems = append(w.problems, fmt.Sprintf("a client got %d, %v after %s tries", r.Code, r.Err, r.Placeholder("tries")))
						}
					})
				}
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
				synctest.Wait()
				w.mu.Lock()
				for _, seen := range ejections {
					for _, e := range seen() {
						if w.matched && strings.Contains(e, "waiting requests") {
							w.problems = append(w.problems, e)
						}
					}
				}
				if len(w.problems) > 0 {
					t.Errorf("seed %d, %s%s%s%s: %s after\n%s", seed, policy, hedge, outliers, checks, w.problems[0], strings.Join(log, "\n"))
					w.mu.Unlock()
					break
				}
				w.mu.Unlock()
			}
			wg.Wait()
			seconds(1) // for second attempts that have lost
			for _, b := range pool.Current("web").View().Members.All {
				if b.InUse() {
					t.Errorf("seed %d: %s is still in use", seed, b.Address)
				}
			}
		})
	}
	lbtest.NoLeaks(t)
}
