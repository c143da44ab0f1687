// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// A backend that joins a pool which serves gets no request before it has passed its check once,
// whoever adds it, and gets requests at once afterwards.
func TestJoinsWhenItHasPassed(t *testing.T) {
	for name, join := range map[string]func(t *testing.T, r *registry){
		"discovered": func(_ *testing.T, r *registry) { r.set(at("a:1", "b:1", "c:1")...) },
		"added": func(t *testing.T, _ *registry) {
			if _, err := manager(t).Add(membership.Addition{Address: "c:1"}); err != nil {
				t.Fatal(err)
			}
		},
		"another instance": func(_ *testing.T, r *registry) {
			r.set(append(at("a:1", "b:1"), of("c:1", "old"))...)
			seconds(3)
			r.set(append(at("a:1", "b:1"), of("c:1", "new"))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(t), newRegistry(t)
				r.set(at("a:1", "b:1")...)
				config := proxy("wrr", `"name":"web",`+pushing(t, ",")+check(t, `,"passes":3`))
				p := load(t, nil, config)
				expectServed(t, p, "a:1", "b:1")
				seconds(2)
				w.set(func() { w.sick["c:1"] = true })
				join(t, r)
				seconds(0.5)
				expectServed(t, p, "a:1", "b:1")
				if c := member(t, "c:1").Condition(); c.State != "down" || c.Reason != "sick" {
					t.Errorf("%+v", c)
				}
				next, err := lbtest.Load(t, nil, config, abc) // a reload does not change that
				if err != nil {
					t.Fatal(err)
				}
				seconds(0.2)
				expectServed(t, next, "a:1", "b:1")
				seen := events(t, next, "backend_up", "backend_down")
				w.set(func() { w.sick["c:1"] = false })
				seconds(3.1) // it has failed, so it needs three passes
				expectServed(t, next, "a:1", "b:1", "c:1")
				if got := fmt.Sprint(seen()); !strings.Contains(got, "backend_up web c:1") || strings.Contains(got, "backend_down web c:1") {
					t.Errorf("events %s", got)
				}
			})
			lbtest.NoLeaks(t)
		})
	}
}

// What joins is better than nothing, and says nothing of the health of the pool: no panic begins.
func TestJoiningIsNoPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t), newRegistry(t)
		r.set(at("a:1")...)
		p := load(t, nil, proxy("wrr", `"name":"web","panic":0.5,"guard":false,`+pushing(t, ",")+check(t, "")))
		seconds(2)
		w.set(func() { w.sick["b:1"], w.sick["c:1"], w.sick["d:1"] = true, true, true })
		r.set(at("a:1", "b:1", "c:1", "d:1")...)
		seconds(0.2)
		if pool.Current("web").View().Panic {
			t.Error("backends that join make the pool panic")
		}
		expectServed(t, p, "a:1")
		alter(t, "a:1", admin(health.Maint))
		seconds(0.1)
		expectServed(t, p, "b:1", "c:1", "d:1")
	})
	lbtest.NoLeaks(t)
}

// The only backend of a group that joins gets nothing while the main group serves its share, and it is
// better than nothing when that no longer can.
func TestJoinsAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["c:1"] = true
		p := load(t, nil, proxy("wrr", `"name":"web",`+dials("a:1", "b:1")+`,"groups":[{"name":"canary","share":0.5}],`+check(t, "")))
		seconds(2)
		if _, err := manager(t).Add(membership.Addition{Address: "c:1", Settings: backend.Settings{Group: "canary"}}); err != nil {
			t.Fatal(err)
		}
		seconds(0.5)
		expectServed(t, p, "a:1", "b:1")
		alter(t, "a:1", admin(health.Maint))
		alter(t, "b:1", admin(health.Maint))
		seconds(0.1)
		n := 0
		for range 60 { // of which half belong to the group: none at all once in 2^60
			if got, _ := p.Get(); got == "c:1" {
				n++
			}
		}
		if n == 0 {
			t.Error("with the main group out, the backend that joins gets nothing")
		}
		alter(t, "a:1", admin(health.Ready))
		w.set(func() { w.sick["c:1"] = false })
		seconds(2.1) // two passes
		expectServed(t, p, "a:1", "c:1")
	})
	lbtest.NoLeaks(t)
}

// Without another backend that serves, and after a verification, nothing is waited for; and otherwise
// for one pass, however many bring a backend up that was down.
func TestJoinsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newWorld(t), newRegistry(t)
		r.set()
		p := load(t, nil, proxy("wrr", `"name":"web",`+pushing(t, ",")+check(t, `,"interval":"10s","passes":3`)))
		seconds(1)
		r.set(at("a:1", "b:1")...)
		synctest.Wait()
		expectServed(t, p, "a:1", "b:1")
		seconds(15)
		w.set(func() { w.sick["c:1"], w.sick["d:1"] = true, true })
		if _, err := manager(t).Add(membership.Addition{Address: "c:1", Verified: true}); err != nil {
			t.Fatal(err)
		}
		expectServed(t, p, "a:1", "b:1", "c:1")
		w.set(func() { w.sick["d:1"] = false })
		r.set(at("a:1", "b:1", "d:1")...)
		seconds(0.1) // the first probe of a check each 10 s
		expectServed(t, p, "a:1", "b:1", "d:1")
	})
}

// In a pool without checks, a discovered backend is connected to first.
func TestJoinsWhenItAcceptsConnections(t *testing.T) {
	serve := func(l net.Listener) {
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, l.Addr())
		})}}
		s.Start()
		t.Cleanup(s.Close)
	}
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first, second := listen("127.0.0.1:0"), listen("127.0.0.1:0")
	late := second.Addr().String()
	second.Close()
	serve(first)
	r := newRegistry(t)
	r.set(at(first.Addr().String())...)
	config := `{"transport":{"protocol":"http"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
		"dynamic_upstreams":{"source":"pool","name":"web",` + pushing(t, "") + `}}`
	p := load(t, nil, config)
	get := func() string {
		who := p.Serve(newRequest())
		if who.Err != nil {
			t.Fatal(who.Err)
		}
		return who.Placeholder("backend")
	}
	get()
	r.set(at(first.Addr().String(), late)...)
	deadline := time.Now().Add(time.Minute)
	for pool.Current("web").Find(late) == nil && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	for range 20 {
		if got := get(); got == late {
			t.Fatal("a request to a backend that does not listen")
		}
	}
	for member(t, late).Condition().Reason == "it has just joined, and was not probed yet" && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	if c := member(t, late).Condition(); c.State != "down" || !strings.Contains(c.Reason, "refused") {
		t.Errorf("%+v", c)
	}
	serve(listen(late))
	for get() != late {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", member(t, late).Condition())
		}
		<-time.After(time.Millisecond)
	}
}

// It is connected to as requests are: at the addresses that its source has found.
func TestJoinsAtTheAddressesOfItsSource(t *testing.T) {
	first, second := way{}.serve(t, false), way{}.serve(t, false)
	n := serveNames(t, first)
	p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
		"dynamic_upstreams":{"source":"pool","name":"web","refresh":"100ms","sources":[{"source":"srv","service":"web","proto":"tcp","name":"svc.test",
		"resolver":{"addresses":["udp/%s"]}}]}}`, n.LocalAddr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	awaitServed(t, p, fmt.Sprintf("n1.node.test:%d", first))
	n.more.Store(uint32(second))
	awaitServed(t, p, fmt.Sprintf("n2.node.test:%d", second))
	p.Close()
	lbtest.NoLeaks(t)
}

// Where requests go through a network proxy, nobody knows whether Caddy itself can connect.
func TestJoinsBehindANetworkProxy(t *testing.T) {
	forward := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer forward.Close()
	r := newRegistry(t)
	r.set(at("one.invalid:80")...)
	p := load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http","network_proxy":{"from":"url","url":%q}},
		"load_balancing":{"selection_policy":{"policy":"wrr"}},"dynamic_upstreams":{"source":"pool","name":"web",%s}}`, forward.URL, pushing(t, "")))
	awaitServed(t, p, "one.invalid:80")
	r.set(at("one.invalid:80", "two.invalid:80")...)
	awaitServed(t, p, "two.invalid:80")
	// An operator's addition is not dialed either.
	m := pool.Current("web").Manager()
	if err := m.Verify(t.Context(), membership.Addition{Address: "three.invalid:80"}); err != nil {
		t.Error(err)
	}
}

// awaitServed waits for a request that the backend serves.
func awaitServed(t *testing.T, p *lbtest.Proxy, id string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if r := p.Serve(newRequest()); r.Err == nil && r.Placeholder("backend") == id {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s serves nobody: %+v", id, member(t, id).Condition())
		}
	}
}
