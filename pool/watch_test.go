// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() {
	caddy.RegisterModule(new(pushSource))
	caddy.RegisterModule(new(pullSource))
}

// pushSource is a source that pushes what a test says.
type pushSource struct {
	Registry string `json:"registry,omitempty"`
}

func (*pushSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: discovery.Namespace + ".push", New: func() caddy.Module { return new(pushSource) }}
}

// registry is what the sources of a test know.
type registry struct {
	mu      sync.Mutex
	latest  *discovery.Update // nil before the first
	push    func(discovery.Update)
	fail    func(error) // ends the current watch
	failing error       // that of each watch; nil for none
	panics  bool
	watches []time.Time // when each began
}

var registries sync.Map // by name

func newRegistry(t *testing.T) *registry {
	r := new(registry)
	registries.Store(t.Name(), r)
	return r
}

// Watch implements [discovery.Source].
func (s *pushSource) Watch(ctx context.Context, update func(discovery.Update)) error {
	v, _ := registries.Load(s.Registry)
	r := v.(*registry)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	r.watches = append(r.watches, time.Now())
	latest, failing, panics := r.latest, r.failing, r.panics
	r.push, r.fail = update, func(err error) { cancel(err) }
	r.mu.Unlock()
	switch {
	case panics:
		panic("broken source")
	case failing != nil:
		return failing
	}
	if latest != nil {
		update(*latest)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// set makes endpoints what there is, and pushes them if somebody watches.
func (r *registry) set(all ...discovery.Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = &discovery.Update{Endpoints: all}
	if r.push != nil {
		r.push(*r.latest)
	}
}

// at returns endpoints.
func at(addresses ...string) (all []discovery.Endpoint) {
	for _, a := range addresses {
		all = append(all, discovery.Endpoint{Address: a})
	}
	return all
}

// of returns an endpoint with an instance.
func of(address, instance string) discovery.Endpoint {
	return discovery.Endpoint{Address: address, Settings: discovery.Settings{Instance: instance}}
}

// pushing returns the options of a pool with the source of a test.
func pushing(t *testing.T, more string) string {
	return fmt.Sprintf(`"sources":[{"source":"push","registry":%q}]%s`, t.Name(), more)
}

// A change takes effect at once, and many take effect together: at most once in 100 ms.
func TestPushedBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.set(at("a:1", "b:1")...)
		p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, "")))
		expectServed(t, p, "a:1", "b:1") // from the first request on
		seconds(1)
		r.set(at("b:1", "c:1")...)
		synctest.Wait()
		expectServed(t, p, "b:1", "c:1")
		seconds(1)
		before := pool.Current("web").View().Generation
		for n := range 1000 { // for a second
			r.set(at("b:1", "c:1", "d:1")[:2+n%2]...)
			seconds(0.001)
		}
		// Each change of the members makes one view, and the first takes effect before 100 ms.
		if n := pool.Current("web").View().Generation - before; n < 5 || n > 11 {
			t.Errorf("1000 changes in a second make %d views, want at most 11", n)
		}
		r.set(at("a:1")...)
		seconds(0.1)
		expectServed(t, p, "a:1")
		r.set()
		seconds(0.2)
		expectNone(t, p, "no_backends")
	})
	lbtest.NoLeaks(t)
}

// The options of an endpoint hold; one that drains gets no new requests, keeps its sessions, and
// takes requests again once it no longer drains.
func TestPushedOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		heavy := discovery.Endpoint{Address: "A:1", Settings: discovery.Settings{ID: "heavy", Weight: new(3), Zone: "x"}}
		r.set(heavy, at("b:1")[0])
		p := load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"sticky","header":"X-S"}},
			"dynamic_upstreams":{"source":"pool","name":"web",`+pushing(t, "")+`}}`)
		web := pool.Current("web")
		b := web.Get("heavy")
		if b == nil || *b.Weight != 3 || b.Zone != "x" || b.Address != "a:1" {
			t.Fatalf("%+v", b)
		}
		sessions := func() map[string]int {
			count := make(map[string]int)
			for n := range 40 {
				req := newRequest()
				req.Header.Set("X-S", fmt.Sprint(n))
				reply := p.Serve(req)
				count[reply.Placeholder("backend")]++
			}
			return count
		}
		before := sessions()["heavy"]
		if before < 29 || before > 31 { // the turns begin anywhere
			t.Errorf("%d of 40 on heavy, want about 30", before)
		}
		heavy.Draining = true
		r.set(heavy, at("b:1")[0])
		seconds(0.2)
		if c := b.Condition(); c.State != "drain" || c.Reason != "discovery" {
			t.Errorf("%+v", c)
		}
		if got := sessions(); got["heavy"] != before {
			t.Errorf("%v: the sessions of a backend that drains moved", got)
		}
		for n := range 20 {
			req := newRequest()
			req.Header.Set("X-S", fmt.Sprint("new", n))
			if who := p.Serve(req).Placeholder("backend"); who == "heavy" {
				t.Fatal("a backend that drains gets a new session")
			}
		}
		heavy.Draining = false
		r.set(heavy, at("b:1")[0])
		seconds(0.2)
		if b.Condition().State != "up" || web.Get("heavy") != b {
			t.Errorf("%+v, another backend: %v", b.Condition(), web.Get("heavy") != b)
		}
	})
}

// What a source says during a reload holds in the new configuration, though the source says nothing more.
func TestPushedDuringReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.set(of("a:1", "1"))
		config := proxy("wrr", `"name":"web"`)
		old := load(t, app(`"web":{`+pushing(t, "")+`}`), config)
		seconds(1)
		expectServed(t, old, "a:1")
		p := new(lbtest.Proxy)
		var err error
		p.Config, err = lbtest.LoadConfig(t, app(`"web":{`+pushing(t, "")+`}`), answering("a:1", "b:1"), func(ctx caddy.Context) error {
			handler, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(config))
			if err != nil {
				return err
			}
			p.Handler = handler.(*reverseproxy.Handler)
			r.set(of("b:1", "2")) // the configuration has its backends, and does not run yet
			seconds(1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		old.Close()
		seconds(1)
		expectServed(t, p, "b:1")
	})
	lbtest.NoLeaks(t)
}

// Another instance at an address begins anew, whatever became of the one before it, and the sessions
// of that one move. The same instance keeps its state.
func TestInstanceBeginsAnew(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, p *lbtest.Proxy, w *world){
		"drained": func(t *testing.T, p *lbtest.Proxy, _ *world) {
			state := health.Drain
			if _, err := pool.Current("web").Manager().Change("a:1", membership.Change{Admin: &state, Weight: &membership.Override{Value: new(7)}}); err != nil {
				t.Fatal(err)
			}
		},
		"down": func(_ *testing.T, _ *lbtest.Proxy, w *world) {
			w.set(func() { w.sick["a:1"] = true })
			seconds(1.5)
			w.set(func() { w.sick["a:1"] = false })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(t), newRegistry(t)
				r.set(of("a:1", "1"), of("b:1", "2"))
				p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, ","+check(t, `,"passes":3`))))
				seconds(1.5)
				expectServed(t, p, "a:1", "b:1")
				spoil(t, p, w)
				expectServed(t, p, "b:1")
				before := pool.Current("web").Get("a:1")
				r.set(of("a:1", "1"), of("b:1", "2"), of("c:1", "3"))
				seconds(0.2)
				if pool.Current("web").Get("a:1").State != before.State {
					t.Error("the same instance has lost its state")
				}
				r.set(of("a:1", "4"), of("b:1", "2"))
				seconds(0.2)
				after := pool.Current("web").Get("a:1")
				if after.State == before.State || after.AdminState() != health.Ready || after.OperatorWeight() != nil || !after.Up() {
					t.Errorf("another instance has the state of the one before: %+v", after.Condition())
				}
				seconds(1.5)
				expectServed(t, p, "a:1", "b:1")
				// The one before is back, as after a restart of its machine.
				r.set(of("a:1", "1"), of("b:1", "2"))
				seconds(0.2)
				if got := pool.Current("web").Get("a:1").AdminState(); (name == "drained") != (got == health.Drain) {
					t.Errorf("the instance that the operator drained is %v", got)
				}
			})
			lbtest.NoLeaks(t)
		})
	}
}

func TestSessionsOfAnotherInstanceMove(t *testing.T) {
	for _, policy := range []string{`"header":"X-S"`, `"cookie":{"secret":"0123456789abcdef0123456789abcdef"}`} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistry(t)
			r.set(of("a:1", "1"))
			p := load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"sticky",`+policy+`}},
				"dynamic_upstreams":{"source":"pool","name":"web",`+pushing(t, "")+`}}`)
			var cookies []*http.Cookie
			ask := func() string {
				req := newRequest()
				req.Header.Set("X-S", "1")
				for _, c := range cookies {
					req.AddCookie(c)
				}
				w, err := p.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if set := w.Result().Cookies(); len(set) > 0 {
					cookies = set
				}
				return w.Header().Get("X-Upstream")
			}
			ask()
			light := of("a:1", "2")
			light.Weight = new(0) // so that a session that moves goes to b
			r.set(light, of("b:1", "3"))
			seconds(0.2)
			if who := ask(); who != "b:1" {
				t.Errorf("%s: a session of the instance before is served by %s", policy, who)
			}
			if who := ask(); who != "b:1" {
				t.Errorf("%s: a session that has moved is served by %s", policy, who)
			}
		})
	}
}

// While a source fails, what it said last holds, and it is said once. It is watched again with a
// backoff, which begins anew after an answer.
func TestWatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.set(at("a:1")...)
		p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, "")))
		seconds(0.5)
		r.mu.Lock()
		r.failing = errors.New("no such socket")
		r.fail(errors.New("the stream has ended"))
		r.mu.Unlock()
		for range 3600 {
			seconds(1)
		}
		expectServed(t, p, "a:1")
		r.mu.Lock()
		// Each wait is at least half of the backoff: 1, 2, 4, 8, 16 and then 30 s.
		if n := len(r.watches); n > 6+3600/15 || n < 6+3600/30-6 {
			t.Errorf("%d watches in an hour", n)
		}
		r.failing, r.panics = nil, true
		r.mu.Unlock()
		seconds(60)
		expectServed(t, p, "a:1")
		r.mu.Lock()
		r.panics = false
		r.mu.Unlock()
		seconds(31)
		r.set(at("b:1")...)
		seconds(0.2)
		expectServed(t, p, "b:1")
		logged := slices.DeleteFunc(p.Logged("pool", "source", "backends", "error"), func(m string) bool { return strings.Contains(m, "panic") })
		want := []string{
			"discovery failed; keeping the last known backends web push 1 the stream has ended",
			"discovery works again web push 1 <nil>",
		}
		if !slices.Equal(logged, want) {
			t.Errorf("log %q, want %q", logged, want)
		}
	})
	lbtest.NoLeaks(t)
}

// What is no backend is logged once for each reason.
func TestWatchIgnores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		bad := discovery.Endpoint{Address: "b:1", Settings: discovery.Settings{Tier: -1}}
		r.set(at("a:1")[0], bad)
		p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, "")))
		for range 10 {
			seconds(1)
			r.set(at("a:1")[0], bad)
		}
		seconds(1)
		expectServed(t, p, "a:1")
		if got := p.Logged("found"); len(got) != 1 || !strings.HasPrefix(got[0], "discovery found what is no backend b:1") {
			t.Errorf("log %q", got)
		}
	})
}

// A reload goes on with the same watch. The last configuration ends it.
func TestWatchOutlivesReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.set(at("a:1", "b:1")...)
		p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, "")))
		for range 20 {
			seconds(1)
			p = reload(t, p, proxy("wrr", `"name":"web",`+pushing(t, "")))
			expectServed(t, p, "a:1", "b:1")
		}
		r.set(at("c:1")...)
		seconds(0.2)
		expectServed(t, p, "c:1")
		if n := len(r.watches); n != 1 {
			t.Errorf("%d watches, want one", n)
		}
	})
	lbtest.NoLeaks(t)
}

// The admin API shows what a source says.
func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.latest = &discovery.Update{Endpoints: at("a:1", "b:1"), Ignored: map[string]string{"db": "it exposes 0 TCP ports"}}
		load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, "")))
		seconds(5)
		m := pool.Current("web").Manager()
		s := m.Sources()
		if len(s) != 1 || s[0].Name != "push" || s[0].Backends != 2 || s[0].Error != nil || time.Since(s[0].Since) != 5*time.Second || len(s[0].Ignored) != 1 {
			t.Errorf("%+v", s)
		}
		r.mu.Lock()
		r.failing = errors.New("no such socket")
		r.fail(r.failing)
		r.mu.Unlock()
		seconds(10)
		if s := m.Sources(); s[0].Backends != 2 || s[0].Error == nil || s[0].Error.Error() != "no such socket" || time.Since(s[0].Since) != 10*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

// pullSource is a source that is looked up, with the name of one that is watched.
type pullSource struct {
	Registry string `json:"registry,omitempty"`
}

func (*pullSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.push", New: func() caddy.Module { return new(pullSource) }}
}

func (*pullSource) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	return []*reverseproxy.Upstream{{Dial: "c:1"}}, nil
}

// Two sources of one name, with the same options, are two sources.
func TestQualifiedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newRegistry(t).set(at("a:1")...)
		options := fmt.Sprintf(`,"registry":%q}`, t.Name())
		p := load(t, nil, proxy("wrr", `"name":"web","sources":[{"source":"push"`+options+`,{"source":"upstreams.push"`+options+`]`))
		expectServed(t, p, "a:1", "c:1")
	})
}
