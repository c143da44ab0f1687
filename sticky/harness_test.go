// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)

func init() { caddy.RegisterModule(new(fakeCheck)) }

func TestMain(m *testing.M) { lbtest.Main(m) }

// world is what the backends of a test are like.
type world struct {
	mu   sync.Mutex
	sick map[string]bool          // their probes fail, and they refuse connections
	slow map[string]time.Duration // they take so long
	hits map[string]int
	dead map[string]int // requests that were refused

	answer func(name string, req *http.Request, header http.Header) // nil for nothing
}

var worlds sync.Map // by name

func newWorld(t *testing.T) *world {
	w := &world{sick: make(map[string]bool), slow: make(map[string]time.Duration), hits: make(map[string]int), dead: make(map[string]int)}
	worlds.Store(t.Name(), w)
	return w
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// backends are a:1, b:1 and so on.
func (w *world) backends(n int) lbtest.Backends {
	all := make(lbtest.Backends)
	for i := range n {
		name := fmt.Sprintf("%c:1", 'a'+i)
		all[name] = func(req *http.Request) (int, error) {
			w.mu.Lock()
			sick, slow := w.sick[name], w.slow[name]
			if w.hits[name]++; sick {
				w.dead[name]++
			}
			w.mu.Unlock()
			if sick {
				return lbtest.Refused(req)
			}
			if w.answer != nil {
				w.answer(name, req, lbtest.ResponseHeader(req))
			}
			return lbtest.Latency(slow)(req)
		}
	}
	return all
}

// fakeCheck probes a world.
type fakeCheck struct {
	healthcheck.HTTP
	World string `json:"world,omitempty"`
}

func (*fakeCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.fake", New: func() caddy.Module { return new(fakeCheck) }}
}

func (c *fakeCheck) Probe(_ context.Context, t healthcheck.Target) error {
	v, _ := worlds.Load(c.World)
	w := v.(*world)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sick[t.Address] {
		return errors.New("sick")
	}
	return nil
}

const secret = `"secret":"a secret of the test"`

// site is a proxy with a pool of n backends named web, or with a list.
type site struct {
	*lbtest.Proxy
	world *world
}

// setup says what a site is like.
type setup struct {
	n       int
	policy  string // further JSON of the policy
	pool    string // likewise of the pool
	member  string // likewise of each backend
	list    bool   // no pool
	name    string // of the pool; default: web
	unnamed bool   // the pool has no name
	retries int
	order   []int // of the backends; default: as they are named
}

// config returns the JSON of the proxy.
func (s setup) config() string {
	var members []string
	for i := range s.n {
		if s.order != nil {
			i = s.order[i]
		}
		id := fmt.Sprintf(`,"id":"id-%c"`, 'a'+i)
		if s.list {
			id = ""
		}
		members = append(members, fmt.Sprintf(`{"dial":"%c:1"%s%s}`, 'a'+i, id, s.member))
	}
	name := ""
	if !s.unnamed {
		name = fmt.Sprintf(`"name":%q,`, cmp.Or(s.name, "web"))
	}
	upstreams := fmt.Sprintf(`"dynamic_upstreams":{"source":"pool",%s"guard":false,"backends":[%s]%s}`, name, strings.Join(members, ","), s.pool)
	if s.list {
		upstreams = fmt.Sprintf(`"upstreams":[%s]`, strings.Join(members, ","))
	}
	return fmt.Sprintf(`{"transport":{"protocol":"lbtest"},%s,"load_balancing":{"retries":%d,"selection_policy":{"policy":"sticky"%s}}}`,
		upstreams, s.retries, s.policy)
}

func (s setup) load(t *testing.T, w *world) *site {
	t.Helper()
	p, err := lbtest.Load(t, nil, s.config(), w.backends(max(s.n, 5)))
	if err != nil {
		t.Fatal(err)
	}
	return &site{p, w}
}

// cookieName is the default name of the cookie of the pool.
const cookieName = "ballast_web"

const byCookie = `,"cookie":{` + secret + `}`

func check(t *testing.T) string {
	return fmt.Sprintf(`,"health":[{"check":"fake","world":%q,"interval":"1s","fails":1,"passes":1,"jitter":0}]`, t.Name())
}

// backend returns a member of the pool, to be changed by f.
func (s *site) change(address string, f func(*backend.Backend)) {
	pool := pool.Current("web")
	f(pool.Find(address))
	pool.Publish()
}

// client is a browser.
type client struct {
	cookies map[string]string
	header  http.Header
	ip      string
	query   string
	https   bool
}

func newClient() *client { return &client{cookies: make(map[string]string), header: make(http.Header)} }

// reply is what a client gets.
type reply struct {
	backend, session, reason, policy string
	status                           int
	set                              []*http.Cookie
}

func (r reply) String() string { return r.backend + " " + r.session }

// request returns a request of the client.
func (c *client) request() *http.Request {
	req := httptest.NewRequest(http.MethodGet, "http://lbtest/"+c.query, nil)
	for k, v := range c.header {
		req.Header[k] = v
	}
	if c.ip != "" {
		req.RemoteAddr = c.ip + ":999"
	}
	if c.https {
		req.TLS = new(tls.ConnectionState)
	}
	for name, value := range c.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return req
}

// get sends a request.
func (c *client) get(s *site) reply {
	got := s.Serve(c.request())
	r := reply{
		backend: strings.TrimSuffix(got.Header().Get("X-Upstream"), ":1"), status: got.Code, set: got.Result().Cookies(),
		session: got.Placeholder("session"), reason: got.Placeholder("reason"), policy: got.Placeholder("policy"),
	}
	if got.Err != nil {
		r.status = http.StatusServiceUnavailable
	}
	for _, k := range r.set {
		c.cookies[k.Name] = k.Value
	}
	return r
}

func expect(t *testing.T, what string, got reply, backend, session string) {
	t.Helper()
	if got.backend != backend || got.session != session {
		t.Errorf("%s: served by %q (%s), want %q (%s); %d %s", what, got.backend, got.session, backend, session, got.status, got.reason)
	}
}

// clientsOf returns n clients.
func clientsOf(n int, one func(n int) *client) (all []*client) {
	for i := range n {
		all = append(all, one(i))
	}
	return all
}
