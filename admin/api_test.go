// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/admin"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

func TestMain(m *testing.M) { lbtest.Main(m) }

// api is the routes of the module, as Caddy's admin endpoint has them.
type api struct {
	http.Handler
	t testing.TB
}

func newAPI(t testing.TB, p *lbtest.Proxy) *api {
	t.Helper()
	a := new(admin.API)
	if err := a.Provision(p.Context()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, route := range a.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				t.Errorf("%s %s: %v", r.Method, r.URL, err)
			}
		})
	}
	return &api{mux, t}
}

// do sends a request.
func (a *api) do(method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	a.ServeHTTP(w, r)
	return w
}

// ask sends a request that must be answered with a status, and decodes the answer.
func (a *api) ask(method, path, body string, status int, v any) {
	a.t.Helper()
	w := a.do(method, path, body)
	if w.Code != status {
		a.t.Fatalf("%s %s: status %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func load(t testing.TB, backends lbtest.Backends, pool string) *lbtest.Proxy {
	t.Helper()
	p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},`+
		`"dynamic_upstreams":{"source":"pool","name":"web",`+pool+`}}`, backends)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	backendsPath = "/ballast/pools/web/backends"
	two          = `"backends":[{"dial":"a:1","id":"a","weight":3,"meta":{"room":"east"}},{"dial":"b:1","tier":0,"max_requests":9}]`
)

func answering(addresses ...string) lbtest.Backends {
	b := make(lbtest.Backends)
	for _, a := range addresses {
		b[a] = lbtest.Latency(0)
	}
	return b
}

// An error for an unknown backend lists ten ids at most, and is not broken by a pool
// without backends.
func TestUnknownBackend(t *testing.T) {
	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprintf(`{"dial":"a:%d"}`, i+1))
	}
	a := newAPI(t, load(t, nil, `"backends":[`+strings.Join(many, ",")+`]`))
	got := a.do("GET", backendsPath+"/none", "").Body.String()
	if want := `its backends are a:1, a:2, a:3, a:4, a:5, a:6, a:7, a:8, a:9, a:10, and 40 more"`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	for i := range 50 {
		if w := a.do("DELETE", fmt.Sprintf("%s/a:%d", backendsPath, i+1), ""); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	if got := a.do("GET", backendsPath+"/none", "").Body.String(); !strings.Contains(got, "the pool is empty") {
		t.Errorf("got %s", got)
	}
}

// Every request has an answer in JSON with the right status, and what is wrong is
// said in words.
func TestStatuses(t *testing.T) {
	a := newAPI(t, load(t, nil, two))
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/ballast/pools", "", 200, `"name":"web"`},
		{"GET", "/ballast/pools/", "", 200, `"name":"web"`},
		{"HEAD", "/ballast/pools", "", 200, ""},
		{"GET", "/ballast/pools/web", "", 200, `"id":"a"`},
		{"GET", backendsPath, "", 200, `"id":"a"`},
		{"GET", backendsPath + "/a", "", 200, `"address":"a:1"`},
		{"GET", backendsPath + "/a:1", "", 200, `"id":"a"`}, // by its address, too
		{"GET", "/ballast/metrics", "", 200, `"uptime_seconds":`},
		{"OPTIONS", "/ballast/pools", "", 204, ""},
		{"GET", "/ballast/", "", 404, "there is no route /ballast/"},
		{"GET", "/ballast/nothing", "", 404, "there is no route"},
		{"GET", "/ballast/pools/none", "", 404, `there is no pool \"none\"; the pools are web`},
		{"POST", "/ballast/pools/none/backends", `{"address":"x:1"}`, 404, "there is no pool"},
		{"GET", backendsPath + "/none", "", 404, `no such backend: \"none\"; its backends are a, b:1"`},
		{"PATCH", backendsPath + "/none", `{"weight":1}`, 404, `no such backend: \"none\"; its backends are a, b:1"`},
		{"DELETE", backendsPath + "/none", "", 404, `no such backend: \"none\"; its backends are a, b:1"`},
		{"DELETE", backendsPath + "/none?drain=1s", "", 404, `no such backend: \"none\"; its backends are a, b:1"`},
		{"DELETE", backendsPath + "/unix/run/x.sock", "", 404, "must be escaped"},
		{"GET", backendsPath + "/%2e%2e", "", 404, "there is no route"},
		{"GET", backendsPath + "/a%2f..%2fb", "", 404, "there is no route"},
		{"POST", "/ballast/pools", `{}`, 405, "GET, HEAD"},
		{"DELETE", "/ballast/pools/web", "", 405, "GET, HEAD"},
		{"PUT", backendsPath, `{}`, 405, "GET, HEAD, POST"},
		{"POST", backendsPath + "/a", `{}`, 405, "DELETE, GET, HEAD, PATCH"},
		{"POST", "/ballast/metrics", `{}`, 405, "GET, HEAD"},
		{"POST", backendsPath, `{"address":"a:1"}`, 409, "already has this backend: a:1"},
		{"POST", backendsPath, `{"address":"x:1","id":"a"}`, 409, "belongs to a:1"},
		{"POST", backendsPath, `{"address":"x:1","id":"b:1"}`, 409, "belongs to b:1"},
		{"POST", backendsPath, ``, 400, "empty"},
		{"POST", backendsPath, `{`, 400, "truncated"},
		{"POST", backendsPath, `{}`, 400, "address is missing"},
		{"POST", backendsPath, `{"address":""}`, 400, "address is missing"},
		{"POST", backendsPath, `{"address":"x"} {}`, 400, "after the JSON object"},
		{"POST", backendsPath, `{"address":"x:1","address":"y:1"}`, 400, "twice"},
		{"POST", backendsPath, `{"address":"x:1","wait":1}`, 400, `unknown field \"wait\"`},
		{"POST", backendsPath, `{"Address":"x:1"}`, 400, "unknown field"},
		{"POST", backendsPath, `{"address":"x:1","weight":"2"}`, 400, "weight must be a whole number"},
		{"POST", backendsPath, `{"address":"x:1","weight":-1}`, 400, "weight must be a whole number from 0 to 65535"},
		{"POST", backendsPath, `{"address":"x:1-5"}`, 400, "one at a time"},
		{"POST", backendsPath, `{"address":"http://x/y"}`, 400, "for a path"},
		// What its own path would not lead to, or looks like another.
		{"POST", backendsPath, `{"address":"x:1","id":"."}`, 400, "between slashes"},
		{"POST", backendsPath, `{"address":"x:1","id":".."}`, 400, "between slashes"},
		{"POST", backendsPath, `{"address":"x:1","id":"a/../b"}`, 400, "between slashes"},
		{"POST", backendsPath, `{"address":"x:1","id":"./a"}`, 400, "between slashes"},
		{"POST", backendsPath, `{"address":"x:1","id":"a//b"}`, 400, "two in a row"},
		{"POST", backendsPath, `{"address":"x:1","id":"/a"}`, 400, "begin or end with a slash"},
		{"POST", backendsPath, `{"address":"x:1","id":"a/"}`, 400, "begin or end with a slash"},
		{"POST", backendsPath, `{"address":"x:1","id":" "}`, 400, "blank"},
		{"POST", backendsPath, `{"address":"x:1","id":" a"}`, 400, `write \"a\"`},
		{"POST", backendsPath, `{"address":"x:1","id":"a\u202eb"}`, 400, "control and format characters"},
		{"POST", backendsPath, `{"address":"x:1","id":"a\u0000b"}`, 400, "control and format characters"},
		{"POST", backendsPath, `{"address":"unix//run/../x.sock"}`, 400, "or an id"},
		{"POST", backendsPath, `{"address":"` + strings.Repeat("x", 1<<18) + `"}`, 413, "too large"},
		{"PATCH", backendsPath + "/a", `{}`, 400, "nothing to change"},
		{"PATCH", backendsPath + "/a", `{"state":"gone"}`, 400, "ready, drain or maint"},
		{"PATCH", backendsPath + "/a", `{"for":"address"}`, 400, "nothing to change"},
		{"PATCH", backendsPath + "/a", `{"state":"drain","for":"ever"}`, 400, `for must be instance or address, got \"ever\"`},
		{"PATCH", backendsPath + "/a", `{"state":"drain","for":true}`, 400, "for must be a string"},
		{"PATCH", backendsPath + "/a", `{"state":1}`, 400, "state must be a string"},
		{"PATCH", backendsPath + "/a", `{"weight":65536}`, 400, "weight must be a whole number from 0 to 65535"},
		{"PATCH", backendsPath + "/a", `{"max_requests":-1}`, 400, "max_requests must be"},
		{"PATCH", backendsPath + "/a", `{"weight":1.5}`, 400, ""},
		{"PATCH", backendsPath + "/a", `{"tier":1}`, 400, "unknown field"},
		{"DELETE", backendsPath + "/a?drain=x", "", 400, "drain must be a duration"},
		{"DELETE", backendsPath + "/a?drain=-1s", "", 400, "drain must be a duration"},
		{"DELETE", backendsPath + "/a?drain=1s&drain=1s", "", 400, "drain is given twice"},
		{"DELETE", backendsPath + "/a?wait=1s", "", 400, "unknown field"},
		{"GET", "/ballast/events?poll=web", "", 400, "unknown field"},
		{"GET", "/ballast/pools/web/explain", "", 200, `"policy":"wrr"`},
		{"GET", "/ballast/pools/none/explain", "", 404, "there is no pool"},
		{"POST", "/ballast/pools/web/explain", "{}", 405, "GET, HEAD"},
		{"GET", "/ballast/pools/web/explain?client_ip=10.0.0.1&uri=/a%3Fb=c&method=POST&host=x:80&header=X-A:%20b&header=Cookie:%20a=b", "", 200, `"backend":`},
		{"GET", "/ballast/pools/web/explain?ip=10.0.0.1", "", 400, "unknown field"},
		{"GET", "/ballast/metrics?pool=web", "", 400, `unknown field \"pool\"; there are none here`},
		{"GET", "/ballast/pools?pool=web", "", 400, "unknown field"},
		{"GET", "/ballast/pools/web?backend=a", "", 400, "unknown field"},
		{"GET", "/ballast/pools/web/backends?state=up", "", 400, "unknown field"},
		{"POST", "/ballast/pools/web/backends?verify=false", `{"address":"x:1"}`, 400, "unknown field"},
		{"GET", "/ballast/pools/web/backends/a?x", "", 400, "unknown field"},
		{"PATCH", "/ballast/pools/web/backends/a?weight=0", `{"state":"ready"}`, 400, "unknown field"},
		{"GET", "/ballast/pools/web/rollouts?group=a", "", 400, "unknown field"},
		{"POST", "/ballast/pools/web/rollouts/a?x", `{"action":"abort"}`, 400, "unknown field"},
		{"GET", "/ballast/fleet?x", "", 400, "unknown field"},
		{"GET", "/ballast/pools/web/explain?client_ip=x", "", 400, "client_ip must be"},
		{"GET", "/ballast/pools/web/explain?client_ip=::1&client_ip=::2", "", 400, "twice"},
		{"GET", "/ballast/pools/web/explain?uri=a", "", 400, "uri must begin"},
		{"GET", "/ballast/pools/web/explain?uri=/%00", "", 400, ""},
		{"GET", "/ballast/pools/web/explain?host=a/b", "", 400, "host must be"},
		{"GET", "/ballast/pools/web/explain?method=a%20b", "", 400, "method"},
		{"GET", "/ballast/pools/web/explain?header=X-A", "", 400, "header must be"},
		{"GET", "/ballast/pools/web/explain?header=X%20A:b", "", 400, "header must be"},
		{"GET", "/ballast/pools/web/explain?header=X-A:b%0Ac", "", 400, "header must be"},
		{"GET", "/ballast/pools/web/explain?header=Host:b", "", 400, "host"},
		{"GET", "/ballast/pools/web/explain?%zz", "", 400, ""},
	} {
		w := a.do(tt.method, tt.path, tt.body)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s %.60s: status %d, %.300s; want %d, %q", tt.method, tt.path, tt.body, w.Code, w.Body, tt.status, tt.want)
		}
		if kind := w.Header().Get("Content-Type"); tt.status != 204 && kind != "application/json" {
			t.Errorf("%s %s: content type %q", tt.method, tt.path, kind)
		}
		if allow := w.Header().Get("Allow"); (allow != "") != (tt.status == 405 || tt.status == 204) {
			t.Errorf("%s %s: allows %q", tt.method, tt.path, allow)
		}
		if tt.status >= 400 {
			var f admin.Failure
			if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || f.Error == "" {
				t.Errorf("%s %s: %s", tt.method, tt.path, w.Body)
			}
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", backendsPath, strings.NewReader(`{"verify":false,"address":"x:1"}`))
	r.Header.Set("Content-Type", "text/plain")
	if a.ServeHTTP(w, r); w.Code != 400 {
		t.Errorf("a text was taken for JSON: %d", w.Code)
	}
	var pool admin.Pool
	if a.ask("GET", "/ballast/pools/web", "", 200, &pool); len(pool.Backends) != 2 {
		t.Errorf("something was added or removed: %+v", pool)
	}
}

// A backend is added, shown, changed and removed, whatever its id is made of.
func TestLifeOfABackend(t *testing.T) {
	for _, tt := range []struct{ body, id, path string }{
		{`{"verify":false,"address":"c:1"}`, "c:1", "c:1"},
		{`{"verify":false,"address":"c:1","id":"see","weight":2,"tier":1,"max_requests":5,"meta":{"a":"b"}}`, "see", "see"},
		{`{"verify":false,"address":"[::1]:80"}`, "[::1]:80", "%5B::1%5D:80"},
		{`{"verify":false,"address":"[::1]:80"}`, "[::1]:80", "[::1]:80"},
		{`{"verify":false,"address":"unix//run/x.sock"}`, "unix//run/x.sock", "unix%2F%2Frun%2Fx.sock"},
		{`{"verify":false,"address":"c:1","id":"a b/c?d#e%f+g"}`, "a b/c?d#e%f+g", "a%20b%2Fc%3Fd%23e%25f+g"},
		{`{"verify":false,"address":"c:1","id":"pools"}`, "pools", "pools"},
		{`{"verify":false,"address":"c:1","id":"a..b/.c/d."}`, "a..b/.c/d.", "a..b%2F.c%2Fd."},
		{`{"verify":false,"address":"c:1","id":"unix//run/x.sock"}`, "unix//run/x.sock", "unix%2F%2Frun%2Fx.sock"},
		{`{"verify":false,"address":"unix//run/../x.sock","id":"x"}`, "x", "x"},
		{`{"verify":false,"address":"c:1","id":"ü"}`, "ü", "%C3%BC"},
	} {
		a := newAPI(t, load(t, nil, two))
		var b admin.Backend
		a.ask("POST", backendsPath, tt.body, 201, &b)
		if b.ID != tt.id || b.Origin != "operator" || b.State != "up" || b.Admin != "ready" || b.Since.IsZero() {
			t.Errorf("%s: %+v", tt.body, b)
		}
		location := a.do("POST", backendsPath, tt.body).Header().Get("Location")
		if location != "" {
			t.Errorf("%s: %s though it was there", tt.body, location)
		}
		a.ask("GET", backendsPath+"/"+tt.path, "", 200, &b)
		a.ask("PATCH", backendsPath+"/"+tt.path, `{"weight":7,"state":"drain","max_requests":3}`, 200, &b)
		if b.Weight != 7 || b.EffectiveWeight != 7 || b.State != "drain" || b.Reason != "operator" || b.MaxRequests != 3 ||
			b.Drain == nil || !b.Drain.Safe || b.Overrides == nil || *b.Overrides.Weight != 7 || *b.Overrides.MaxRequests != 3 {
			t.Errorf("%s: %+v", tt.body, b)
		}
		b = admin.Backend{}
		a.ask("PATCH", backendsPath+"/"+tt.path, `{"weight":null,"state":"ready","max_requests":null}`, 200, &b)
		if b.State != "up" || b.Drain != nil || b.Overrides != nil {
			t.Errorf("%s: %+v", tt.body, b)
		}
		a.ask("PATCH", backendsPath+"/"+tt.path, `{"weight":7,"state":"maint","max_requests":3,"for":"address"}`, 200, &b)
		if b.State != "maint" || b.Reason != "operator, for the address" || !slices.Equal(b.ForAddress, []string{"state", "weight", "max_requests"}) {
			t.Errorf("%s: %+v", tt.body, b)
		}
		b = admin.Backend{}
		a.ask("PATCH", backendsPath+"/"+tt.path, `{"weight":8,"state":"drain","for":"instance"}`, 200, &b)
		if b.State != "drain" || b.Reason != "operator" || !slices.Equal(b.ForAddress, []string{"max_requests"}) {
			t.Errorf("%s: %+v", tt.body, b)
		}
		var gone admin.Removed
		a.ask("DELETE", backendsPath+"/"+tt.path, "", 200, &gone)
		if gone.ID != tt.id || !gone.Emptied || gone.InFlight != 0 {
			t.Errorf("%s: %+v", tt.body, gone)
		}
		if w := a.do("GET", backendsPath+"/"+tt.path, ""); w.Code != 404 {
			t.Errorf("%s is there after it was removed: %s", tt.id, w.Body)
		}
	}
}

// Whoever takes out the last backend that takes new requests is told, in the answer
// and in the log; while another serves, nothing is said.
func TestLastServingWarns(t *testing.T) {
	for name, c := range map[string]struct{ method, path, body string }{
		"maint":    {"PATCH", backendsPath + "/b:1", `{"state":"maint"}`},
		"drain":    {"PATCH", backendsPath + "/b:1", `{"state":"drain"}`},
		"weight 0": {"PATCH", backendsPath + "/b:1", `{"weight":0}`},
		"removal":  {"DELETE", backendsPath + "/b:1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, nil, two)
			a := newAPI(t, p)
			const message = "no backend of the pool takes new requests now"
			warns := func(method, path, body string, want bool) {
				t.Helper()
				w := a.do(method, path, body)
				var answer struct{ Warning string }
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
					t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
				}
				if got := answer.Warning == message; got != want || !want && answer.Warning != "" {
					t.Errorf("%s %s: warning %q, want one: %v", method, body, answer.Warning, want)
				}
				if logged := slices.Contains(p.Logged(), message); logged != want {
					t.Errorf("%s %s: logged %v", method, body, p.Logged())
				}
			}
			warns("PATCH", backendsPath+"/a", `{"state":"maint"}`, false)
			warns(c.method, c.path, c.body, true)
		})
	}
}

// What is counted is shown.
func TestNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := lbtest.Backends{
			"a:1": lbtest.Latency(100 * time.Millisecond),
			"b:1": func(*http.Request) (int, error) { return 503, nil },
		}
		p := load(t, backends, two+`,"outliers":{"consecutive_errors":0,"error_ratio":0}`)
		a := newAPI(t, p)
		time.Sleep(time.Second) // until the views of the start have been made
		for range 40 {
			_, _ = p.Get()
		}
		time.Sleep(2 * time.Second)
		var pool admin.Pool
		a.ask("GET", "/ballast/pools/web", "", 200, &pool)
		if pool.Healthy != 2 || pool.Serving != 2 || len(pool.Backends) != 2 {
			t.Fatalf("%+v", pool)
		}
		one, other := pool.Backends[0], pool.Backends[1]
		if one.Requests != 30 || one.Responses["2xx"] != 30 || other.Responses["5xx"] != 10 || one.Origin != "configuration" ||
			one.Meta["room"] != "east" || other.MaxRequests != 9 || one.Idle == nil || one.Sessions != nil {
			t.Errorf("%+v, %+v", one, other)
		}
		if p50 := one.Latency["p50"]; p50 < 0.1 || p50 > 0.1125 {
			t.Errorf("a median of %v s, want 0.1 s", p50)
		}
		var m admin.Metrics
		a.ask("GET", "/ballast/metrics", "", 200, &m)
		if m.Requests != 40 || len(m.Backends) != 2 || m.InFlight != 0 || m.Backends[0].Pool != "web" {
			t.Errorf("%+v", m)
		}
	})
}

// A removal waits for what is in flight, and for no longer than it is told; what is
// left then goes on to its end.
func TestRemoveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backends := lbtest.Backends{"a:1": lbtest.Latency(10 * time.Second), "b:1": lbtest.Latency(0)}
		p := load(t, backends, two)
		a := newAPI(t, p)
		for _, tt := range []struct {
			drain   string
			emptied bool
			waited  float64
		}{{"30s", true, 10}, {"3s", false, 3}, {"0s", false, 0}} {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if _, err := p.Get(); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			var gone admin.Removed
			wg.Go(func() {
				a.ask("DELETE", backendsPath+"/a?drain="+tt.drain, "", 200, &gone)
			})
			synctest.Wait()
			for range 8 {
				if who, err := p.Get(); who != "b:1" || err != nil {
					t.Errorf("%s: served by %s, %v", tt.drain, who, err)
				}
			}
			wg.Wait()
			if gone.Emptied != tt.emptied || (gone.InFlight == 0) != tt.emptied || gone.Waited < tt.waited || gone.Waited > tt.waited+0.05 {
				t.Errorf("%s: %+v", tt.drain, gone)
			}
			a.ask("POST", backendsPath, `{"verify":false,"address":"a:1","id":"a","weight":3}`, 201, new(admin.Backend))
		}
	})
	lbtest.NoLeaks(t)
}

// Of a hundred that change one backend at once, one was last: what is left is all of
// what it said. Of those that add the same one, one did.
func TestParallelWriters(t *testing.T) {
	a := newAPI(t, load(t, nil, two))
	var wg sync.WaitGroup
	var mu sync.Mutex
	added := 0
	for i := range 100 {
		wg.Go(func() {
			n := i + 1
			body := fmt.Sprintf(`{"weight":%d,"max_requests":%d}`, n, n)
			if w := a.do("PATCH", backendsPath+"/a", body); w.Code != 200 {
				t.Errorf("%s", w.Body)
			}
			if w := a.do("POST", backendsPath, fmt.Sprintf(`{"verify":false,"address":"c:1","weight":%d,"max_requests":%d}`, n, n)); w.Code == 201 {
				mu.Lock()
				added++
				mu.Unlock()
			}
			if w := a.do("POST", backendsPath, fmt.Sprintf(`{"verify":false,"address":"d%d:1"}`, n)); w.Code != 201 {
				t.Errorf("%s", w.Body)
			}
			if w := a.do("DELETE", backendsPath+fmt.Sprintf("/d%d:1", n), ""); w.Code != 200 {
				t.Errorf("%s", w.Body)
			}
		})
	}
	wg.Wait()
	var pool admin.Pool
	a.ask("GET", "/ballast/pools/web", "", 200, &pool)
	if len(pool.Backends) != 3 || added != 1 {
		t.Fatalf("%d were added, %+v", added, pool.Backends)
	}
	for _, i := range []int{0, 2} {
		if b := pool.Backends[i]; b.Weight < 1 || b.Weight != float64(b.MaxRequests) {
			t.Errorf("weight %v of one, and max_requests %d of another", b.Weight, b.MaxRequests)
		}
	}
}

// Events come as they happen, of the pool that was asked for, and end with who
// reads them.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, load(t, answering("a:1", "b:1"), two))
		all, other, end := httptest.NewRecorder(), httptest.NewRecorder(), make(chan struct{})
		var wg sync.WaitGroup
		for w, query := range map[*httptest.ResponseRecorder]string{all: "", other: "?pool=other"} {
			r := httptest.NewRequest("GET", "/ballast/events"+query, nil)
			ctx, cancel := caddy.NewContext(caddy.Context{Context: r.Context()})
			go func() { <-end; cancel() }()
			wg.Go(func() { a.ServeHTTP(w, r.WithContext(ctx)) })
		}
		synctest.Wait()
		a.do("POST", backendsPath, `{"verify":false,"address":"c:1"}`)
		a.do("PATCH", backendsPath+"/c:1", `{"state":"drain"}`)
		a.do("PATCH", backendsPath+"/c:1", `{"state":"drain"}`) // nothing new
		a.do("DELETE", backendsPath+"/c:1", "")
		time.Sleep(20 * time.Second)
		close(end)
		wg.Wait()
		var names []string
		for line := range strings.Lines(all.Body.String()) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var e admin.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil || e.Data["pool"] != "web" || e.Data["backend"] != "c:1" || e.At.IsZero() || e.Sequence == 0 || e.Level != "info" {
					t.Errorf("%s: %v", data, err)
				}
				names = append(names, fmt.Sprint(e.Event, " ", e.Data["reason"]))
			}
		}
		if want := []string{"backend_added ", "backend_changed drain", "backend_removed "}; !slices.Equal(names, want) {
			t.Errorf("events %q, want %q", names, want)
		}
		if !bytes.Contains(all.Body.Bytes(), []byte("event: backend_added\ndata: ")) || bytes.Contains(other.Body.Bytes(), []byte("event:")) {
			t.Errorf("%s\n%s", all.Body, other.Body)
		}
		if kind := all.Header().Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("content type %q", kind)
		}
	})
	lbtest.NoLeaks(t)
}

// A client is told the backend that it then gets, and why not the others.
func TestExplain(t *testing.T) {
	p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"rendezvous","key":"client_ip"}},`+
		`"dynamic_upstreams":{"source":"pool","name":"web","backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"},{"dial":"d:1","tier":1}]}}`,
		answering("a:1", "b:1", "c:1", "d:1"))
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, p)
	a.do("PATCH", backendsPath+"/c:1", `{"state":"maint"}`)
	met := make(map[string]bool)
	for i := range 50 {
		ip := fmt.Sprintf("10.0.0.%d", i)
		var e admin.Explained
		a.ask("GET", "/ballast/pools/web/explain?client_ip="+ip, "", 200, &e)
		r := httptest.NewRequest("GET", "http://x/", nil)
		r.RemoteAddr = ip + ":1"
		w, err := p.Do(r)
		if got := w.Header().Get("X-Upstream"); err != nil || got != e.Backend || e.Odds != 1 || e.Policy != "rendezvous" {
			t.Errorf("%s: got %s, explained %+v, %v", ip, got, e, err)
		}
		met[e.Backend] = true
		for _, c := range e.Candidates {
			want := map[string]string{"c:1": "maint: operator", "d:1": "tier 1 serves only when lower tiers cannot"}[c.ID]
			if want == "" && c.ID != e.Backend {
				want = "the policy prefers another backend"
			}
			if c.PassedOver != want {
				t.Errorf("%s: %s is passed over because %q, want %q", ip, c.ID, c.PassedOver, want)
			}
		}
	}
	if len(met) != 2 {
		t.Errorf("met %v", met)
	}
	for _, b := range []string{"a:1", "b:1", "d:1"} {
		a.do("PATCH", backendsPath+"/"+b, `{"state":"maint"}`)
	}
	var e admin.Explained
	if a.ask("GET", "/ballast/pools/web/explain", "", 200, &e); e.Backend != "" || !strings.Contains(e.Why, "all_maintenance") {
		t.Errorf("%+v", e)
	}
}

// Where the policy is one of Caddy's, that is said, and who could be chosen.
func TestExplainOfForeignPolicy(t *testing.T) {
	p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"random"}},`+
		`"dynamic_upstreams":{"source":"pool","name":"web","backends":[{"dial":"a:1"}]}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var e admin.Explained
	newAPI(t, p).ask("GET", "/ballast/pools/web/explain", "", 200, &e)
	if e.Policy != "" || len(e.Candidates) != 1 || !strings.Contains(e.Why, "cannot be explained") {
		t.Errorf("%+v", e)
	}
}

// What decides who is where is not shown: no options of checks, which may have
// secrets, also where a check fails.
func TestNoSecrets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // so that nobody listens
	events := event.Subscribe()
	defer events.Close()
	p := load(t, nil, `"guard":false,"backends":[{"dial":"`+address+`"}],"health":[{"check":"http","uri":"/?key=secret","header":{"Authorization":"secret"},"fails":1}]`)
	a := newAPI(t, p)
	for down := false; !down; {
		select {
		case e := <-events.Events:
			down = e.Name == "backend_down" && e.Data["address"] == address
			if strings.Contains(fmt.Sprint(e.Data), "secret") {
				t.Errorf("an event: %v", e.Data)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no probe has failed")
		}
	}
	for _, path := range []string{"/ballast/pools", "/ballast/metrics", "/ballast/pools/web/explain"} {
		w := a.do("GET", path, "")
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %s", path, w.Body)
		}
		if path == "/ballast/pools" && !strings.Contains(w.Body.String(), "refused") {
			t.Errorf("it is not said why: %s", w.Body)
		}
	}
}

// What has failed is the same in all of the API: attempts without a complete response,
// and those that were answered with 5xx, each once. 4xx are none, nor is what a client
// has left.
func TestErrorsAreOneThing(t *testing.T) {
	statuses := map[string]int{"a:1": 500, "b:1": 404, "c:1": 200}
	backends := lbtest.Backends{"d:1": lbtest.Refused}
	for address, status := range statuses {
		backends[address] = func(*http.Request) (int, error) { return status, nil }
	}
	p := load(t, backends, `"outliers":{"off":true},"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"},{"dial":"d:1"}]`)
	a := newAPI(t, p)
	got := make(map[string]int64) // by who has answered, empty for who refused
	for range 40 {
		who, _ := p.Get()
		got[who]++
	}
	bad, refused := got["a:1"], got[""]
	sum := func(all map[string]int64) (n int64) {
		for _, one := range all {
			n += one
		}
		return n
	}
	if bad < 5 || refused < 5 {
		t.Fatalf("served by %v", got)
	}
	var pool admin.Pool
	a.ask("GET", "/ballast/pools/web", "", 200, &pool)
	if pool.Requests != 40 || pool.Errors["status"] != bad || pool.Errors["refused"] != refused || sum(pool.Errors) != bad+refused ||
		pool.Responses["5xx"] != bad || pool.Responses["4xx"] != got["b:1"] || pool.Responses["2xx"] != got["c:1"] {
		t.Errorf("the pool: %d requests, errors %v, responses %v", pool.Requests, pool.Errors, pool.Responses)
	}
	want := map[string]int64{"a:1": bad, "d:1": refused}
	for _, b := range pool.Backends {
		if sum(b.Errors) != want[b.ID] {
			t.Errorf("%s: errors %v", b.ID, b.Errors)
		}
	}
	var m admin.Metrics
	a.ask("GET", "/ballast/metrics", "", 200, &m)
	if m.Requests != 40 || m.Errors != bad+refused || m.Responses["5xx"] != bad || m.Responses["4xx"] != got["b:1"] || m.Responses["2xx"] != got["c:1"] {
		t.Errorf("of all: %d requests, %d errors, responses %v", m.Requests, m.Errors, m.Responses)
	}
	if one := m.Pools[0]; one.Requests != 40 || one.Errors != bad+refused || one.Responses["5xx"] != bad || one.Responses["2xx"] != got["c:1"] {
		t.Errorf("of the pool: %d requests, %d errors, responses %v", one.Requests, one.Errors, one.Responses)
	}
	for _, b := range m.Backends {
		if b.Errors != want[b.ID] {
			t.Errorf("%s: %d errors", b.ID, b.Errors)
		}
	}
}

// A change that is not kept has its own status, and is in effect.
func TestNotKept(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // the instance's id
	p, err := lbtest.Load(t, caddy.ModuleMap{
		"ballast": json.RawMessage(`{"persist":true,"pools":{"web":{"backends":[{"dial":"a:1"},{"dial":"b:1"}],
			"groups":[{"name":"canary","share":0.1,"backends":[{"dial":"c:1"}]}]}}}`),
		"storage": json.RawMessage(`{"module":"file_system","root":"/dev/null/full"}`),
	}, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web"}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, p)
	for _, tt := range []struct{ method, path, body string }{
		{"POST", backendsPath, `{"verify":false,"address":"d:1"}`},
		{"PATCH", backendsPath + "/a:1", `{"state":"drain"}`},
		{"DELETE", backendsPath + "/b:1", ""},
		{"DELETE", backendsPath + "/c:1?drain=1s", ""},
		{"POST", "/ballast/pools/web/rollouts/canary", `{"action":"abort"}`},
	} {
		if w := a.do(tt.method, tt.path, tt.body); w.Code != http.StatusInsufficientStorage || !strings.Contains(w.Body.String(), "it is lost when Caddy restarts") {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
	var pool admin.Pool
	a.ask("GET", "/ballast/pools/web", "", 200, &pool)
	if b := pool.Backends; len(b) != 2 || b[0].Admin != "drain" || b[1].Address != "d:1" || pool.Groups[1].Rollout.State != "aborted" {
		t.Errorf("got %+v", pool)
	}
}
