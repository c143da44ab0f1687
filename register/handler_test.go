// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	_ "github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	"github.com/ballast-lb/caddy-ballast/register"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

func TestMain(m *testing.M) { lbtest.Main(m) }

// site is a pool, and the handler that backends register with.
type site struct {
	*lbtest.Proxy
	t       testing.TB
	handler *register.Handler
}

func newSite(t testing.TB, pool, handler string) *site {
	t.Helper()
	return newSiteWith(t, nil, pool, handler)
}

func newSiteWith(t testing.TB, apps caddy.ModuleMap, pool, handler string) *site {
	t.Helper()
	backends := make(lbtest.Backends)
	for _, a := range []string{"a:1", "b:1", "10.0.0.7:1"} {
		backends[a] = lbtest.Latency(0)
	}
	p, err := lbtest.Load(t, apps, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},`+
		`"dynamic_upstreams":{"source":"pool","name":"web","backends":[{"dial":"a:1"}]`+pool+`}}`, backends)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(handler, "token") && !strings.Contains(handler, "allow") {
		handler += `,"open":true`
	}
	mod, err := p.Context().LoadModuleByID("http.handlers.pool_register", json.RawMessage(`{"pool":"web"`+handler+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return &site{p, t, mod.(*register.Handler)}
}

type reply struct {
	Status, Error string
	Data          struct {
		Pool, ID, Address string
		Weight            int
		TTL               float64 `json:"ttl_seconds"`
	}
	code   int
	header http.Header
}

// do sends a request; authorization may be empty.
func (s *site) do(method, body, authorization string) (r reply) {
	s.t.Helper()
	req := httptest.NewRequest(method, "/register", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return s.send(req, authorization)
}

func (s *site) send(req *http.Request, authorization string) (r reply) {
	s.t.Helper()
	method, body := req.Method, req.URL
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	w := lbtest.Serve(s.handler, req, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		s.t.Error("the next handler was called")
		return nil
	}))
	if w.Err != nil {
		s.t.Errorf("%s %s: %v", method, body, w.Err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || (r.Status == "success") != (w.Code == 200) || (r.Error != "") != (w.Code != 200) {
		s.t.Errorf("%s %s: status %d, %s, %v", method, body, w.Code, w.Body, err)
	}
	r.code, r.header = w.Code, w.Header()
	return r
}

func (s *site) members() (all []string) {
	for _, b := range pool.Current("web").View().Members.All {
		all = append(all, fmt.Sprint(b.Address, "*", *b.Weight))
	}
	return all
}

func (s *site) expect(want string) {
	s.t.Helper()
	if got := strings.Join(s.members(), " "); got != want {
		s.t.Errorf("members are %s, want %s", got, want)
	}
}

const off = `,"verify":false`

// A backend joins with POST, says that it is there with POST, and leaves with
// DELETE. What it does not say again stays.
func TestRegistration(t *testing.T) {
	s := newSite(t, "", off+`,"ttl":"10s"`)
	r := s.do("POST", `{"address":"b:1","weight":2}`, "")
	if r.code != 200 || r.Data.Address != "b:1" || r.Data.ID != "b:1" || r.Data.Pool != "web" || r.Data.Weight != 2 || r.Data.TTL != 10 {
		t.Errorf("%+v", r)
	}
	s.expect("a:1*1 b:1*2")
	for _, tt := range []struct{ method, body, members string }{
		{"POST", `{"address":"b:1","weight":2}`, "a:1*1 b:1*2"},
		{"POST", `{"address":"B:1"}`, "a:1*1 b:1*2"},
		{"POST", `{"address":"http://b:1","weight":5}`, "a:1*1 b:1*5"},
		{"POST", `{"address":"b:1","weight":0}`, "a:1*1 b:1*0"},
		{"POST", `{"address":"a:1","weight":9}`, "a:1*1 b:1*0"}, // the configuration's
		{"DELETE", `{"address":"b:1"}`, "a:1*1"},
	} {
		if r := s.do(tt.method, tt.body, ""); r.code != 200 {
			t.Errorf("%s %s: %+v", tt.method, tt.body, r)
		}
		s.expect(tt.members)
	}
	for body, code := range map[string]int{`{"address":"b:1"}`: 404, `{"address":"a:1"}`: 404} {
		if r := s.do("DELETE", body, ""); r.code != code {
			t.Errorf("DELETE %s: %+v, want %d", body, r, code)
		}
	}
	s.expect("a:1*1")
}

// Whatever is wrong is refused, with a status that says what kind of wrong.
func TestRefusals(t *testing.T) {
	s := newSite(t, "", off+`,"token":"s3cret","allow":["10.0.0.0/8","127.0.0.0/8","::1"]`)
	const good = "Bearer s3cret"
	for _, tt := range []struct {
		method, body, token string
		code                int
	}{
		{"POST", `{"address":"10.0.0.7:1"}`, "", 401},
		{"POST", `{"address":"10.0.0.7:1"}`, "s3cret", 401},
		{"POST", `{"address":"10.0.0.7:1"}`, "Basic s3cret", 401},
		{"POST", `{"address":"10.0.0.7:1"}`, "Bearer S3cret", 401},
		{"POST", `{"address":"10.0.0.7:1"}`, "Bearer s3cret ", 401},
		{"POST", `{"address":"10.0.0.7:1"}`, "Bearer ", 401},
		{"DELETE", `{"address":"10.0.0.7:1"}`, "", 401},
		{"POST", `{`, "", 401}, // nobody learns more
		{"GET", ``, good, 405},
		{"PUT", `{"address":"10.0.0.7:1"}`, good, 405},
		{"POST", ``, good, 400},
		{"POST", `{`, good, 400},
		{"POST", `[]`, good, 400},
		{"POST", `{}`, good, 400},
		{"POST", `{"address":1}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1","weight":-1}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1","weight":65536}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1-5"}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1/x"}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1"} x`, good, 400},
		{"POST", `{"address":"10.0.0.7:1","address":"192.0.2.1:1"}`, good, 400},
		{"POST", `{"address":"10.0.0.7:1","id":"x"}`, good, 403},
		{"POST", `{"address":"192.0.2.1:1"}`, good, 403},
		{"POST", `{"address":"[2001:db8::1]:1"}`, good, 403},
		{"POST", `{"address":"[::ffff:192.0.2.1]:1"}`, good, 403},
		{"POST", `{"address":"[::1%25lo]:1"}`, good, 403},
		{"POST", `{"address":"unix//run/x.sock"}`, good, 403},
		{"POST", `{"address":"no-such-host.invalid:1"}`, good, 400},
		{"DELETE", `{"address":"192.0.2.1:1"}`, good, 403},
		{"POST", `{"address":"` + strings.Repeat("x", 70_000) + `"}`, good, 413},
	} {
		r := s.do(tt.method, tt.body, tt.token)
		if r.code != tt.code {
			t.Errorf("%s %.60s with %q: %d %s, want %d", tt.method, tt.body, tt.token, r.code, r.Error, tt.code)
		}
		if (r.header.Get("WWW-Authenticate") != "") != (tt.code == 401) || (r.header.Get("Allow") != "") != (tt.code == 405) {
			t.Errorf("%s %.60s: %v", tt.method, tt.body, r.header)
		}
		if strings.Contains(r.Error, "s3cret") {
			t.Errorf("the token is in %q", r.Error)
		}
	}
	s.expect("a:1*1")
	// What is allowed is stored by the address that it was allowed for.
	for address, stored := range map[string]string{
		"10.0.0.7:1": "10.0.0.7:1", "[::ffff:10.0.0.8]:1": "10.0.0.8:1", "localhost:7": "127.0.0.1:7", "[::1]:9": "[::1]:9", ":11": "127.0.0.1:11",
	} {
		for _, scheme := range []string{"Bearer", "bearer"} {
			if r := s.do("POST", `{"address":"`+address+`"}`, scheme+" s3cret"); r.code != 200 || r.Data.Address != stored {
				t.Errorf("%s: %+v", address, r)
			}
		}
		if r := s.do("DELETE", `{"address":"`+address+`"}`, good); r.code != 200 {
			t.Errorf("%s: %+v", address, r)
		}
	}
	s.expect("a:1*1")
}

// A page of another site cannot have a browser inside register a backend: neither with
// what a form can send, nor where a browser says where the request comes from.
func TestPagesOfOtherSites(t *testing.T) {
	for _, guard := range []string{"", `,"allow":["10.0.0.0/8"]`, `,"token":"s"`} {
		s := newSite(t, "", off+guard)
		for _, tt := range []struct {
			header http.Header
			code   int
		}{
			{http.Header{}, 400}, // as fetch sends a Blob in no-cors mode
			{http.Header{"Content-Type": {""}}, 400},
			{http.Header{"Content-Type": {"text/plain"}}, 400},
			{http.Header{"Content-Type": {"text/plain; application/json"}}, 400},
			{http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 400},
			{http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, 400},
			{http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}, 403},
			{http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-site"}}, 403},
			{http.Header{"Content-Type": {"application/json"}, "Origin": {"http://evil.example"}}, 403},
			{http.Header{"Content-Type": {"application/json"}, "Origin": {"null"}}, 403},
			{http.Header{"Content-Type": {"application/json"}, "Origin": {"http://example.com"}, "Sec-Fetch-Site": {"same-origin"}}, 200},
			{http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Sec-Fetch-Site": {"none"}}, 200},
		} {
			for _, method := range []string{"POST", "DELETE"} {
				req := httptest.NewRequest(method, "http://example.com/register", strings.NewReader(`{"address":"10.0.0.7:1"}`))
				req.Header = tt.header
				if r := s.send(req, "Bearer s"); r.code != tt.code {
					t.Errorf("%s with %v, guarded by %q: %d %s, want %d", method, tt.header, guard, r.code, r.Error, tt.code)
				}
			}
			s.expect("a:1*1")
		}
		s.Close()
	}
}

// How much of the traffic a backend takes by its own word is bounded.
func TestMaxWeight(t *testing.T) {
	s := newSite(t, "", off+`,"max_weight":10`)
	for _, tt := range []struct {
		body    string
		code    int
		members string
	}{
		{`{"address":"b:1","weight":11}`, 400, "a:1*1"},
		{`{"address":"b:1","weight":10}`, 200, "a:1*1 b:1*10"},
		{`{"address":"b:1","weight":60000}`, 400, "a:1*1 b:1*10"},
		{`{"address":"b:1","weight":0}`, 200, "a:1*1 b:1*0"},
	} {
		if r := s.do("POST", tt.body, ""); r.code != tt.code {
			t.Errorf("%s: %d %s, want %d", tt.body, r.code, r.Error, tt.code)
		}
		s.expect(tt.members)
	}
}

// An address is the id, and paths of the admin API must lead to it.
func TestAddressThatIsNoID(t *testing.T) {
	s := newSite(t, "", off)
	for _, address := range []string{"unix//run/../x.sock", "unix//run/./x.sock", "unix/../x.sock", `unix//run/a\u202eb.sock`} {
		r := s.do("POST", `{"address":"`+address+`"}`, "")
		if r.code != 400 || !strings.Contains(r.Error, "write the path without them") {
			t.Errorf("%s: %d %s", address, r.code, r.Error)
		}
		s.expect("a:1*1")
	}
	if r := s.do("POST", `{"address":"unix//run/x.sock"}`, ""); r.code != 200 {
		t.Errorf("%d %s", r.code, r.Error)
	}
}

// Who may register must be said.
func TestWhoMayRegister(t *testing.T) {
	s := newSite(t, "", off)
	for config, want := range map[string]string{
		`{"pool":"web"}`:                                    "write token <secret>, allow <cidr...>, or open",
		`{"pool":"web","allow":[]}`:                         "write token <secret>, allow <cidr...>, or open",
		`{"pool":"web","token":""}`:                         "write token <secret>, allow <cidr...>, or open",
		`{"pool":"web","token":"s","open":true}`:            "both open and token or allow",
		`{"pool":"web","allow":["10.0.0.0/8"],"open":true}`: "both open and token or allow",
		`{"pool":"..","open":true}`:                         `must not be ".."`,
		`{"pool":"web","open":true,"max_weight":-1}`:        "max_weight must be a whole number from 1 to 65535",
		`{"pool":"web","open":true,"max_weight":65536}`:     "max_weight must be a whole number from 1 to 65535",
	} {
		_, err := s.Context().LoadModuleByID("http.handlers.pool_register", json.RawMessage(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

// A backend that does not answer is not accepted: by the health checks of the pool
// or, without any, if nothing listens.
func TestVerify(t *testing.T) {
	var sick sync.Map
	backends := make([]string, 2)
	for i := range backends {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := sick.Load(r.Host); ok || r.URL.Path != "/health" {
				w.WriteHeader(503)
			}
		}))
		t.Cleanup(srv.Close)
		backends[i] = srv.Listener.Addr().String()
	}
	sick.Store(backends[1], true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		pool  string
		codes [3]int
	}{
		{"", [3]int{200, 200, 400}},
		{`,"health":[{"check":"http","uri":"/health"}]`, [3]int{200, 400, 400}},
		{`,"health":[{"check":"agent","port":1}]`, [3]int{200, 200, 400}}, // an agent is not asked
	} {
		s := newSite(t, tt.pool, "")
		for i, address := range append(backends, closed) {
			r := s.do("POST", `{"address":"`+address+`"}`, "")
			if r.code != tt.codes[i] || r.code == 400 && !strings.Contains(r.Error, "not alive") {
				t.Errorf("%s: %s: %+v, want %d", tt.pool, address, r, tt.codes[i])
			}
		}
		// One that is there is heard, however it is: the pool's checks see to that.
		sick.Store(backends[0], true)
		if r := s.do("POST", `{"address":"`+backends[0]+`"}`, ""); r.code != 200 {
			t.Errorf("%+v", r)
		}
		sick.Delete(backends[0])
		s.Close()
	}
}

// One that is silent for its ttl leaves; the requests of a client that says nothing
// go elsewhere then.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "", off+`,"ttl":"10s"`)
		s.do("POST", `{"address":"b:1"}`, "")
		for range 5 {
			time.Sleep(9 * time.Second)
			s.expect("a:1*1 b:1*1")
			s.do("POST", `{"address":"b:1"}`, "")
		}
		time.Sleep(9900 * time.Millisecond)
		s.expect("a:1*1 b:1*1")
		time.Sleep(200 * time.Millisecond)
		s.expect("a:1*1")
		s.Close()
	})
	lbtest.NoLeaks(t)
}

// A registration that is not kept has its own status, and holds until the restart.
func TestNotKept(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // the instance's id
	s := newSiteWith(t, caddy.ModuleMap{
		"ballast": json.RawMessage(`{"persist":true}`),
		"storage": json.RawMessage(`{"module":"file_system","root":"/dev/null/full"}`),
	}, "", off)
	for _, tt := range []struct{ method, members string }{{"POST", "a:1*1 b:1*1"}, {"DELETE", "a:1*1"}} {
		if r := s.do(tt.method, `{"address":"b:1"}`, ""); r.code != http.StatusInsufficientStorage || !strings.Contains(r.Error, "it is lost when Caddy restarts") {
			t.Errorf("%s: %d %s", tt.method, r.code, r.Error)
		}
		s.expect(tt.members)
	}
}

// A configuration that names a pool that is not there is refused before it starts.
func TestMissingPool(t *testing.T) {
	config := `{"admin":{"disabled":true},"apps":{"ballast":{},"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
		{"handler":"pool_register","pool":"wob","open":true}]}]}}}},"logging":{"logs":{"default":{"level":"ERROR"}}}}`
	err := lbtest.Validate([]byte(config))
	if err == nil || !strings.Contains(err.Error(), `pool_register needs a pool "wob"`) {
		t.Errorf("got %v", err)
	}
}

// Whatever the parser accepts survives the JSON that it becomes.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		"pool_register web", "pool_register web {\n open\n max_weight 10\n}", "pool_register web {\n token a\n ttl 10s\n allow 10.0.0.0/8 ::1\n verify off\n}", "pool_register web {\n verify\n}",
		"pool_register", "pool_register a b", "pool_register web {\n allow x\n}", "pool_register web {\n ttl 1ms\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) { lbtest.RoundTrip(t, "http.handlers.pool_register", tokens) })
}

// Whatever a backend says of itself, it is answered, and either registered or
// refused with a reason.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{"address":"b:1","weight":2}`, `{"address":"[::1]:1"}`, `{"address":"unix//x"}`, `{}`, `{"address":"10.0.0.1:80-90"}`, `{"weight":1e9}`} {
		f.Add("POST", seed)
		f.Add("DELETE", seed)
	}
	s := newSite(f, "", off)
	f.Fuzz(func(t *testing.T, method, body string) {
		if method != "POST" && method != "DELETE" {
			t.Skip()
		}
		s := *s
		s.t = t
		if r := s.do(method, body, ""); r.code >= 500 {
			t.Errorf("%s: %+v", body, r)
		}
		s.do("DELETE", body, "")
	})
}
