// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

const summary = `,"respond":"summary"`

// eject has a backend be ejected by what it answers.
const ejecting = `,"outliers":{"consecutive_errors":1,"eject_for":"1h","max_eject_for":"1h","max_ejected":1}`

// Who is ejected is asked only where the quorum needs it.
func TestEjectedBackendsAreAskedIfTheyAreNeeded(t *testing.T) {
	for _, tt := range []struct {
		quorum string
		asked  int
	}{{"all", 3}, {"majority", 2}, {"2", 2}, {"3", 3}, {"1", 2}} {
		bubble(t, tt.quorum, func(t *testing.T) {
			s := newSite(t, servers{"a:1": says(200, ""), "b:1": says(200, ""), "c:1": inTurn(says(503, ""), says(200, ""))},
				web(ejecting), `"pool":"web","retries":0,"quorum":"`+tt.quorum+`"`+summary)
			s.do(post("x"))
			synctest.Wait()
			if phase := pool.Current("web").Find("c:1").EjectionState(); phase != outlier.Ejected {
				t.Fatalf("c is %v", phase)
			}
			r := s.do(post("x"))
			rep := r.report(t)
			if r.status != 200 || len(rep.Backends) != tt.asked || rep.Of != 3 {
				t.Errorf("got %d, %d of %d were asked, want %d of 3", r.status, len(rep.Backends), rep.Of, tt.asked)
			}
			if tt.asked == 2 {
				equal(t, "left out", rep.LeftOut, []struct{ ID, Reason string }{{"c:1", "ejected"}})
			}
		})
	}
}

// Who was taken out by an operator gets nothing, and does not count.
func TestBackendsThatWereTakenOutAreLeftOut(t *testing.T) {
	for name, admin := range map[string]health.Admin{"drain": health.Drain, "maint": health.Maint} {
		bubble(t, name, func(t *testing.T) {
			s := newSite(t, servers{"a:1": says(200, ""), "b:1": says(200, "")}, web(""), `"pool":"web"`+summary)
			p := pool.Current("web")
			p.Find("c:1").SetAdmin(admin)
			defer p.Find("c:1").SetAdmin(health.Ready)
			p.Publish()
			r := s.do(post("x"))
			rep := r.report(t)
			if r.status != 200 || rep.Of != 2 || rep.Needed != 2 {
				t.Errorf("got %d, %d of %d", r.status, rep.Needed, rep.Of)
			}
			equal(t, "left out", rep.LeftOut, []struct{ ID, Reason string }{{"c:1", "taken out"}})
			for _, b := range p.View().Members.All {
				defer b.SetAdmin(health.Ready)
				b.SetAdmin(admin)
			}
			p.Publish()
			if r := s.do(post("x")); r.status != 503 || r.Placeholder("reason") != "all_maintenance" {
				t.Errorf("got %d %q though all were taken out", r.status, r.Placeholder("reason"))
			}
		})
	}
}

// A quorum that cannot be is not begun.
func TestTooFewBackends(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{}, web(""), `"pool":"web","quorum":"4"`)
		if r := s.do(post("x")); r.status != 503 || r.Placeholder("reason") != "too_few_backends" {
			t.Errorf("got %d %q", r.status, r.Placeholder("reason"))
		}
		equal(t, "tries", s.metric(t, "tries_total"), 0)
	})
}

// Who leaves is not waited for, and who joins gets nothing; both are reported.
func TestMembersThatComeAndGo(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var joined seen
		s := newSite(t, servers{"a:1": after(2*time.Second, says(200, "")), "b:1": hang, "c:1": says(500, ""), "d:1": joined.then(says(200, ""))},
			web(""), `"pool":"web","backoff":{"base":"10s"}`+summary)
		p := pool.Current("web")
		before := p.View().Members.All
		d := backend.New("web", backend.Endpoint{Address: "d:1", Settings: backend.Settings{ID: "d:1", Weight: new(1)}}, backend.NewState(), nil, nil)
		go func() {
			time.Sleep(time.Second)
			p.SetMembers(pool.NewMembers([]*backend.Backend{before[0], d})) // b is in flight, c waits
		}()
		r := s.do(post("x"))
		rep := r.report(t)
		if r.status != 200 || r.took != 2*time.Second || rep.Of != 1 || rep.Accepted != 1 {
			t.Errorf("got %d after %v, %+v", r.status, r.took, rep)
		}
		equal(t, "left", rep.Left, []string{"b:1", "c:1"})
		equal(t, "joined", rep.Joined, []string{"d:1"})
		equal(t, "requests to d", len(joined.requests), 0)
		synctest.Wait()
		equal(t, "in flight", s.metric(t, "requests_in_flight"), 0)
		p.SetMembers(pool.NewMembers(before)) // as the pool has them
	})
}

// A refused connection leaves no doubt, one that breaks does.
func TestReportKnowsWhatIsUnknown(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"b:1": reset, "c:1": inTurn(reset, says(500, ""))}, nil, three+`,"retries":1,"expect":["201"]`)
		rep := s.do(post("x")).report(t)
		equal(t, "have", rep.Have, []string{})
		equal(t, "have_not", rep.HaveNot, []string{"a:1"})
		equal(t, "unknown", rep.Unknown, []string{"b:1", "c:1"})
		if b := rep.Backends[0]; !strings.Contains(b.Error, "connection refused") {
			t.Errorf("a: %+v", b)
		}
	})
}

// A backend's limit holds for fan-outs too.
func TestLimitsHold(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := newSite(t, servers{"a:1": after(time.Second, says(200, "")), "b:1": after(time.Second, says(200, "")), "c:1": after(time.Second, says(200, ""))},
			web(`,"max_requests":1`), `"pool":"web"`)
		var wg sync.WaitGroup
		var took [2]time.Duration
		for i := range took {
			wg.Go(func() {
				r := s.do(post("x"))
				if took[i] = r.took; r.status != 200 {
					t.Errorf("got %d %s", r.status, r.body)
				}
			})
		}
		synctest.Wait()
		for _, b := range pool.Current("web").View().Members.All {
			if b.Taken() != 1 || b.InFlight() != 1 {
				t.Errorf("%s: %d slots are taken, %d in flight", b.ID, b.Taken(), b.InFlight())
			}
		}
		wg.Wait()
		if slower := max(took[0], took[1]); slower < 2*time.Second {
			t.Errorf("both took less than two seconds: %v", took)
		}
	})
}

// listener keeps the events that it is told of.
type listener struct {
	mu     sync.Mutex
	events []map[string]any
}

func (l *listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.fanouttest", New: func() caddy.Module { return heard }}
}

func (l *listener) Handle(_ context.Context, e caddy.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e.Data)
	return errors.New("who listens may fail")
}

var heard = new(listener)

func init() { caddy.RegisterModule(heard) }

var _ caddyevents.Handler = heard

// Only a fan-out without its quorum is an event.
func TestEventOfAFailedFanOut(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		heard.events = nil
		apps := web("")
		apps["events"] = json.RawMessage(`{"subscriptions":[{"events":["fanout_failed"],"handlers":[{"handler":"fanouttest"}]}]}`)
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": says(200, ""), "c:1": inTurn(says(200, ""), says(500, ""))}, apps, `"pool":"web","name":"writes","retries":0`)
		events, err := s.Context().App("events")
		if err != nil || events.(caddy.App).Start() != nil {
			t.Fatal(err)
		}
		req := post("x")
		req.Header.Set("Idempotency-Key", "k")
		s.do(req)
		s.do(req.Clone(req.Context()))
		synctest.Wait()
		heard.mu.Lock()
		defer heard.mu.Unlock()
		want := map[string]any{"fanout": "writes", "pool": "web", "reason": "no_quorum", "have": "a:1,b:1", "have_not": "c:1", "unknown": "", "idempotency_key": "k"}
		if len(heard.events) != 1 {
			t.Fatalf("%d events, want 1", len(heard.events))
		}
		equal(t, "event", heard.events[0], want)
	})
}

// What was counted outlives a reload, and one that is rejected changes nothing.
func TestCountsOutliveReloads(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		members := servers{"a:1": says(200, ""), "b:1": inTurn(says(500, ""), says(200, "")), "c:1": says(200, "")}
		first := newSite(t, members, web(""), `"pool":"web"`)
		first.do(post("x"))
		if _, err := loadSite(t, members, web(""), `"pool":"nowhere"`); err == nil {
			t.Fatal("there is a pool nowhere")
		}
		second := newSite(t, members, web(""), `"pool":"web","retries":7,"quorum":"majority"`)
		first.Close()
		second.do(post("x"))
		synctest.Wait()
		equal(t, "successes", second.metric(t, "successes_total", "fanout", "web"), 6)
		equal(t, "failures", second.metric(t, "failures_total", "fanout", "web", "backend", "b:1"), 1)
		equal(t, "reached", second.metric(t, "requests_total", "result", "reached"), 2)
		second.Close()
		third := newSite(t, members, web(""), `"pool":"web"`)
		equal(t, "after all have gone", third.metric(t, "tries_total"), 0)
	})
}

// Requests that come at once do not meet each other's data.
func TestManyAtOnce(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		echo := func(w http.ResponseWriter, r *http.Request) {
			var at seen
			at.then(says(200, ""))(w, r)
			_, _ = w.Write([]byte(at.bodies[0] + r.Header.Get("Idempotency-Key")))
		}
		flaky := func() http.HandlerFunc {
			return inTurn(echo, says(500, ""), reset, echo)
		}
		s := newSite(t, servers{"a:1": flaky(), "b:1": flaky(), "c:1": echo}, web(`,"outliers":{"off":true}`), `"pool":"web"`)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				text := strings.Repeat(string(rune('A'+i)), i+1)
				req := post(text)
				req.Header.Set("Idempotency-Key", text)
				if r := s.do(req); r.status != 200 || r.body != text+text {
					t.Errorf("got %d %q, want %q", r.status, r.body, text+text)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		equal(t, "successes", s.metric(t, "successes_total"), 150)
		equal(t, "failures", s.metric(t, "failures_total"), 4)
		equal(t, "left", s.metric(t, "requests_in_flight")+s.metric(t, "body_bytes"), 0)
	})
}

// A backend that accepts at the very moment when it leaves does not stand in for
// another that has not accepted.
func TestWhoLeavesDoesNotStandInForOthers(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		leave, left := make(chan struct{}), make(chan struct{})
		s := newSite(t, servers{"a:1": says(200, ""), "b:1": func(w http.ResponseWriter, _ *http.Request) {
			close(leave)
			<-left // its answer is on its way when it is given up
			says(200, "")(w, nil)
		}, "c:1": after(2*time.Second, says(500, ""))}, web(""), `"pool":"web","retries":0`)
		p := pool.Current("web")
		before := p.View().Members.All
		go func() {
			<-leave
			p.SetMembers(pool.NewMembers([]*backend.Backend{before[0], before[2]}))
			close(left)
		}()
		r := s.do(post("x"))
		rep := r.report(t)
		if r.status != 502 || r.took != 2*time.Second || rep.Accepted >= rep.Needed {
			t.Errorf("got %d after %v, %d accepted of %d needed", r.status, r.took, rep.Accepted, rep.Needed)
		}
		p.SetMembers(pool.NewMembers(before))
	})
}
