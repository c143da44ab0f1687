// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// mirrored is a proxy to backends a and b, whose requests are mirrored to shadow:1, and what came to
// each.
type mirrored struct {
	*lbtest.Proxy
	main, shadow diary
}

// newMirrored returns one with options of the mirror, of the pool and of the proxy.
func newMirrored(t *testing.T, mirror, pool, proxy string, main, shadow lbtest.Answerer) *mirrored {
	t.Helper()
	m := new(mirrored)
	m.main.began, m.shadow.began = time.Now(), time.Now()
	backends := lbtest.Backends{"a:1": m.main.of("a:1", main), "b:1": m.main.of("b:1", main)}
	backends["shadow:1"], backends["shadow:2"] = m.shadow.of("shadow:1", shadow), m.shadow.of("shadow:2", shadow)
	config := `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web"}` + proxy + `}`
	if !strings.Contains(mirror, `"to"`) {
		mirror = strings.TrimSuffix(`"to":["shadow:1"],`+mirror, ",")
	}
	p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{` + dials("a:1", "b:1") + pool + `,"mirror":{"ratio":1,` + mirror + `}}}}`)}, config, backends)
	if err != nil {
		t.Fatal(err)
	}
	m.Proxy = p
	return m
}

// With the mirror hanging, each request takes exactly as long as without a mirror, and gets its answer.
func TestMirrorDelaysNothing(t *testing.T) {
	for name, shadow := range map[string]lbtest.Answerer{"in time": status(200), "late": lateBy(time.Second, status(200)), "hangs": hang, "gone": lbtest.Refused, "fails": status(500)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t, `"max_in_flight":10,"methods":["GET","POST"]`, "", "", lateBy(10*ms, status(201)), shadow)
				for n := range 200 {
					req := httptest.NewRequest("POST", "http://x/", strings.NewReader("hello"))
					if n%2 == 0 {
						req = newRequest()
					}
					start := time.Now()
					if r := m.Serve(req); r.Status != 201 || r.Err != nil {
						t.Fatal(r.Status, r.Err)
					}
					if took := time.Since(start); took != 10*ms {
						t.Fatalf("request %d took %v, want 10ms", n, took)
					}
				}
				m.Close()
				if n := m.Metric(t, "caddy_ballast_mirror_in_flight"); n != 0 {
					t.Errorf("%v are in flight after the end", n)
				}
			})
		})
	}
	lbtest.NoLeaks(t)
}

// One copy for each request, whatever is retried, and none of what cannot be copied.
func TestMirror(t *testing.T) {
	const post = `"methods":["GET","POST"]`
	ok := status(200)
	for name, tt := range map[string]struct {
		mirror, pool, proxy string
		field               string
		method, body        string
		main                []lbtest.Answerer // in turn
		want                int               // copies
		sent                int               // attempts, 1 by default
		drop                string
	}{
		"GET":                           {want: 1},
		"POST":                          {method: "POST", body: "x"},
		"POST, asked for":               {mirror: post, method: "POST", body: "hello", want: 1},
		"an upgrade":                    {field: "Upgrade"},
		"a copy":                        {field: "X-Ballast-Mirror"},
		"a copy, whose mark is removed": {field: "X-Ballast-Mirror", proxy: `,"headers":{"request":{"delete":["X-Ballast-Mirror"]}}`},
		"too large":                     {mirror: post + `,"body":4`, method: "POST", body: "hello", drop: "body"},
		"retry":                         {mirror: post, pool: `,"retry":{"tries":1,"on":["503"],"methods":["POST"]}`, method: "POST", body: "hello", main: []lbtest.Answerer{status(503), ok}, want: 1, sent: 2},
		"retry of Caddy":                {proxy: `,"load_balancing":{"retries":1}`, main: []lbtest.Answerer{lbtest.Refused, ok}, want: 1, sent: 2},
		"Caddy's policy":                {proxy: `,"load_balancing":{"selection_policy":{"policy":"round_robin"}}`, want: 1},
		"sticky":                        {proxy: `,"load_balancing":{"selection_policy":{"policy":"sticky","client_ip":true}}`, want: 1},
		"hedge":                         {pool: `,"hedge":{"quantile":0.95}`, want: 1},
		"the main answer fails":         {main: []lbtest.Answerer{status(500)}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				if tt.main == nil {
					tt.main = []lbtest.Answerer{ok}
				}
				m := newMirrored(t, tt.mirror, tt.pool, tt.proxy, func(req *http.Request) (int, error) {
					n++
					return tt.main[n-1](req)
				}, ok)
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				if tt.method == "" {
					tt.method = "GET"
				}
				req := httptest.NewRequest(tt.method, "http://x/", body)
				if tt.field != "" {
					req.Header.Set("Connection", "upgrade")
					req.Header.Set(tt.field, "1")
				}
				m.Serve(req)
				synctest.Wait()
				if n != max(1, tt.sent) || len(m.shadow.all) != tt.want {
					t.Fatalf("%d attempts and %d copies, want %d and %d", n, len(m.shadow.all), max(1, tt.sent), tt.want)
				}
				for _, got := range m.shadow.all {
					if got.body != tt.body || got.header.Get("X-Ballast-Mirror") != "1" {
						t.Errorf("the copy has the body %q and the header %v", got.body, got.header)
					}
				}
				for _, got := range m.main.all {
					if got.body != tt.body || got.header.Get("X-Ballast-Mirror") != "" && tt.field == "" {
						t.Errorf("the backend got the body %q and the header %v", got.body, got.header)
					}
				}
				if tt.drop != "" && m.Metric(t, "caddy_ballast_mirror_dropped_total", "cause", tt.drop) != 1 {
					t.Errorf("drops: %v", m.Samples(t, "caddy_ballast_mirror_dropped"))
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				expectNothingTaken(t, "web")
			})
		})
	}
}

// What the mirror does counts nothing for backends, and all of it for the mirror.
func TestMirrorMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		m := newMirrored(t, `"timeout":"1s"`, `,"outliers":{"consecutive_errors":1}`, "", lateBy(20*ms, status(200)), func(req *http.Request) (int, error) {
			switch n.Add(1) % 4 {
			case 0:
				return lateBy(10*ms, status(200))(req)
			case 1:
				return lateBy(30*ms, status(503))(req)
			case 2:
				return lbtest.Refused(req)
			}
			return hang(req)
		})
		for range 40 {
			if r := m.Serve(newRequest()); r.Status != 200 {
				t.Fatal(r.Status, r.Err)
			}
			time.Sleep(50 * ms)
		}
		time.Sleep(time.Second)
		for _, want := range []struct {
			series, label, value string
			n                    float64
		}{
			{"requests_total", "result", "answered", 20}, {"requests_total", "result", "failed", 10}, {"requests_total", "result", "timeout", 10},
			{"requests_total", "result", "cancelled", 0}, {"compared_total", "status", "same", 10}, {"compared_total", "status", "different", 10},
			{"responses_total", "class", "2xx", 10}, {"responses_total", "class", "5xx", 10}, {"in_flight", "pool", "web", 0}, {"dropped_total", "pool", "web", 0},
		} {
			if got := m.Metric(t, "caddy_ballast_mirror_"+want.series, want.label, want.value); got != want.n {
				t.Errorf("%s{%s=%q} is %v, want %v", want.series, want.label, want.value, got, want.n)
			}
		}
		want := report.MirrorReport{
			Requests:  map[string]int64{"answered": 20, "failed": 10, "timeout": 10, "cancelled": 0},
			Dropped:   map[string]int64{"in_flight": 0, "body": 0, "incomplete": 0, "ended": 0},
			Responses: map[string]int64{"1xx": 0, "2xx": 10, "3xx": 0, "4xx": 0, "5xx": 10},
			Same:      10, Different: 10, Time: 0.02, MainTime: 0.02, // half of the copies take 10 ms, the others 30 ms
		}
		if got := report.OfPool(pool.Current("web")).Mirror; got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("the report is %+v, want %+v", got, want)
		}
		if all := m.Metric(t, "caddy_ballast_backend_requests_total"); all != 40 {
			t.Errorf("%v attempts on backends, want 40", all)
		}
		for _, series := range []string{"failures_total", "ejections_total", "client_gone_total", "retries_total"} {
			if n := m.Metric(t, "caddy_ballast_backend_"+series); n != 0 {
				t.Errorf("%s of backends is %v", series, n)
			}
		}
	})
}

// Several addresses get the copies in turn; a share of the requests is mirrored.
func TestMirrorTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t, `"to":["shadow:1","shadow:2"]`, "", "", status(200), status(200))
		for range 10 {
			m.Serve(newRequest())
			synctest.Wait()
		}
		if got := m.shadow.addresses(); !slices.Equal(got[:4], []string{"shadow:1", "shadow:2", "shadow:1", "shadow:2"}) || len(got) != 10 {
			t.Errorf("the copies went to %v", got)
		}
	})
}

// A copy has the options header_up, evaluated for its own address, and no credentials, not even those
// that header_up sets.
func TestMirrorEvaluatesHeaderUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t, "", "", `,"headers":{"request":{"set":{"To":["{http.reverse_proxy.upstream.hostport}"],"Authorization":["Basic eDp5"],"Host":["{http.reverse_proxy.upstream.host}"],"Path":["{http.request.uri.path}"]}}}`, status(200), status(200))
		req := httptest.NewRequest("GET", "http://x/path", nil)
		req.Header.Set("Cookie", "session=1")
		r := m.Serve(req)
		synctest.Wait()
		main, copied := m.main.all[0], m.shadow.all[0]
		if main.header.Get("To") != main.address || main.header.Get("Authorization") == "" || main.header.Get("Cookie") == "" {
			t.Errorf("the backend got %v", main.header)
		}
		if copied.header.Get("To") != "shadow:1" || copied.header.Get("Path") != "/path" || copied.header.Get("Authorization") != "" || copied.header.Get("Cookie") != "" {
			t.Errorf("the copy has %v", copied.header)
		}
		if got, _ := r.Placeholders.GetString("http.reverse_proxy.upstream.hostport"); got != main.address {
			t.Errorf("the placeholder of the request names %s, want %s", got, main.address)
		}
	})
}

// Interim responses of a mirror do not reach the client; those of the backend do.
func TestMirrorInterimResponses(t *testing.T) {
	hint := func(by string) lbtest.Answerer {
		return func(req *http.Request) (int, error) {
			if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.Got1xxResponse != nil {
				_ = trace.Got1xxResponse(103, textproto.MIMEHeader{"Link": {by}})
			} else if by == "backend" {
				return 0, io.EOF
			}
			return 200, nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t, "", "", "", hint("backend"), hint("shadow"))
		w := &interimRecorder{ResponseRecorder: httptest.NewRecorder()}
		if err := m.Handler.ServeHTTP(w, lbtest.Prepare(newRequest(), caddy.NewReplacer(), w), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !slices.Equal(w.links, []string{"backend"}) || len(m.shadow.all) != 1 {
			t.Errorf("interim responses of %v, %d copies", w.links, len(m.shadow.all))
		}
	})
}

// The client leaves: a complete copy goes on, one whose body is incomplete is dropped.
func TestMirrorOfAClientThatLeaves(t *testing.T) {
	for name, tt := range map[string]struct {
		sends string
		ends  bool
		want  string
	}{"complete": {"hello", true, "requests_total"}, "incomplete": {"he", false, "dropped_total"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t, `"methods":["POST"]`, "", "", hang, lateBy(time.Second, status(200)))
				ctx, leave := context.WithCancel(t.Context())
				body, client := io.Pipe()
				go func() {
					_, _ = io.WriteString(client, tt.sends)
					if tt.ends {
						client.Close()
					}
					time.Sleep(100 * ms)
					leave()
					client.CloseWithError(io.ErrUnexpectedEOF)
				}()
				m.Serve(httptest.NewRequest("POST", "http://x/", body).WithContext(ctx))
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if n := m.Metric(t, "caddy_ballast_mirror_"+tt.want); n != 1 || m.Metric(t, "caddy_ballast_mirror_in_flight") != 0 {
					t.Errorf("%v", m.Samples(t, "caddy_ballast_mirror"))
				}
			})
		})
	}
}

// While the mirror hangs, its copies hold nothing of the requests: not their contexts, variables and
// placeholders.
func TestMirrorHoldsNothingOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t, `"methods":["GET","POST"],"max_in_flight":50`, `,"retry":{"tries":1}`, `,"headers":{"request":{"set":{"To":["{http.reverse_proxy.upstream.hostport}"]}}}`, status(200), hang)
		var requests []weak.Pointer[http.Request]
		for n := range 100 {
			ctx, leave := context.WithCancel(context.Background())
			req := httptest.NewRequest([]string{"GET", "POST"}[n%2], "http://x/", strings.NewReader("hello")).WithContext(ctx)
			w := httptest.NewRecorder()
			prepared := lbtest.Prepare(req, caddy.NewReplacer(), w)
			requests = append(requests, weak.Make(prepared))
			_ = m.Handler.ServeHTTP(w, prepared, nil)
			leave()
		}
		synctest.Wait()
		if n := m.Metric(t, "caddy_ballast_mirror_in_flight"); n != 50 {
			t.Fatalf("%v copies are in flight, want 50", n)
		}
		m.main.all, m.shadow.all = nil, nil
		runtime.GC()
		runtime.GC()
		held := 0
		for _, req := range requests {
			if req.Value() != nil {
				held++
			}
		}
		if held > 1 { // the last one may still be on the stack
			t.Errorf("%d requests are held", held)
		}
	})
}

// The counters go on over a reload, and copies of the old configuration end with it.
func TestMirrorOverReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t, `"timeout":"1h"`, "", "", status(200), hang)
		m.Serve(newRequest())
		synctest.Wait()
		next := newMirrored(t, `"timeout":"1h"`, "", "", status(200), status(200))
		m.Close()
		next.Serve(newRequest())
		synctest.Wait()
		for _, result := range []string{"cancelled", "answered"} {
			if n := next.Metric(t, "caddy_ballast_mirror_requests_total", "result", result); n != 1 {
				t.Errorf("%s: %v, want 1", result, n)
			}
		}
		m.Serve(newRequest()) // of a server that shuts down
		synctest.Wait()
		if len(m.shadow.all) != 1 || next.Metric(t, "caddy_ballast_mirror_in_flight") != 0 {
			t.Errorf("%d copies after the end", len(m.shadow.all)-1)
		}
	})
}

func TestMirrorRefused(t *testing.T) {
	for config, want := range map[string]string{
		`"ratio":0,"to":["s:1"]`:                             "mirror's ratio must be a ratio above 0% and at most 100%",
		`"ratio":1`:                                          "mirror: the addresses are missing",
		`"ratio":1,"to":["s:1","s:1"]`:                       "mirror: s:1 is there twice",
		`"ratio":1,"to":["https://s"]`:                       "and its backends have the scheme none",
		`"ratio":1,"to":["s:1/path"]`:                        "mirror: address",
		`"ratio":1,"to":["s:1"],"body":-1`:                   "mirror's body must be a size",
		`"ratio":1,"to":["s:1"],"max_in_flight":-1`:          "mirror's max_in_flight must be a whole number from 1 to 100000",
		`"ratio":1,"to":["s:1"],"timeout":-1`:                "mirror's timeout must be",
		`"ratio":1,"to":["s:1"],"methods":["get"]`:           "mirror's methods must be methods such as GET or POST",
		`"ratio":1,"to":["s:1"],"methods":["GET","CONNECT"]`: "mirror's methods: CONNECT opens a connection",
	} {
		_, err := lbtest.Load(t, nil, `{"dynamic_upstreams":{"source":"pool",`+dials("a:1")+`,"mirror":{`+config+`}}}`, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
	}
	_, err := lbtest.Load(t, nil, `{"transport":{"protocol":"fastcgi"},"dynamic_upstreams":{"source":"pool",`+dials("a:1")+`,"mirror":{"ratio":1,"to":["s:1"]}}}`, nil)
	if err == nil || !strings.Contains(fmt.Sprint(err), "mirror needs a transport that sends HTTP") {
		t.Errorf("fastcgi: %v", err)
	}
}
