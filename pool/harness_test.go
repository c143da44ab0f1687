// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

func init() {
	caddy.RegisterModule(new(fakeCheck))
	caddy.RegisterModule(new(fakeSource))
}

// world is what the fake check and the fake source of a test see.
type world struct {
	mu      sync.Mutex
	sick    map[string]bool // addresses whose probes fail
	broken  bool            // probes and lookups panic
	lacking error           // what all probes end in, if not nil
	probes  map[string]int
	schemes map[string]string // that probes were to speak
	found   []string          // what the source answers
	lookups int
	failing bool          // the source fails
	slow    time.Duration // the source takes so long, or until it is called off
}

var worlds sync.Map // by name

func newWorld(t *testing.T) *world {
	w := &world{sick: make(map[string]bool), probes: make(map[string]int), schemes: make(map[string]string)}
	worlds.Store(t.Name(), w)
	return w
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
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
	w.probes[t.Address]++
	w.schemes[t.Address] = t.Scheme
	if w.broken {
		panic("broken check")
	}
	if w.lacking != nil {
		return w.lacking
	}
	if w.sick[t.Address] {
		return errors.New("sick")
	}
	return nil
}

// fakeSource finds what a world has.
type fakeSource struct {
	World   string         `json:"world,omitempty"`
	Refresh caddy.Duration `json:"refresh,omitempty"`
}

func (*fakeSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.fake", New: func() caddy.Module { return new(fakeSource) }}
}

func (s *fakeSource) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	v, _ := worlds.Load(s.World)
	w := v.(*world)
	lbtest.Wait(r.Context(), w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	if w.broken {
		panic("broken source")
	}
	if w.failing {
		return nil, errors.New("no such host")
	}
	var ups []*reverseproxy.Upstream
	for _, a := range w.found {
		ups = append(ups, &reverseproxy.Upstream{Dial: a})
	}
	return ups, nil
}

// check returns a health list with one fake check: every second, down after one
// failure and up after two passes.
func check(t *testing.T, more string) string {
	return fmt.Sprintf(`"health":[{"check":"fake","world":%q,"interval":"1s","fails":1,"jitter":0%s}]`, t.Name(), more)
}

// proxy returns the configuration of a proxy with an inline pool.
func proxy(policy, pool string) string {
	lb := ""
	if policy != "" {
		lb = fmt.Sprintf(`"load_balancing":{"retries":3,"selection_policy":{"policy":%q}},`, policy)
	}
	return `{"transport":{"protocol":"lbtest"},` + lb + `"dynamic_upstreams":{"source":"pool",` + pool + `}}`
}

func dials(addresses ...string) string {
	var list []string
	for _, a := range addresses {
		list = append(list, fmt.Sprintf(`{"dial":%q}`, a))
	}
	return `"backends":[` + strings.Join(list, ",") + `]`
}

// answering are backends that answer at once.
func answering(addresses ...string) lbtest.Backends {
	b := make(lbtest.Backends)
	for _, a := range addresses {
		b[a] = lbtest.Latency(0)
	}
	return b
}

var abc = answering("a:1", "b:1", "c:1", "d:1")

// served sends n requests and returns who served how many.
func served(t *testing.T, p *lbtest.Proxy, n int) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for range n {
		who, err := p.Get()
		if err != nil {
			t.Fatal(err)
		}
		count[who]++
	}
	return count
}

// expectServed checks who serves.
func expectServed(t *testing.T, p *lbtest.Proxy, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(served(t, p, 60))); !slices.Equal(got, want) {
		t.Errorf("served by %v, want %v", got, want)
	}
}

// expectNone checks that the answer is a 503 with a reason.
func expectNone(t *testing.T, p *lbtest.Proxy, reason pool.Reason) {
	t.Helper()
	r := p.Serve(newRequest())
	if got := r.Placeholder("reason"); r.Err == nil || !strings.Contains(r.Err.Error(), "503") || got != string(reason) {
		t.Errorf("got %v with reason %q, want a 503 with reason %q", r.Err, got, reason)
	}
}

func newRequest() *http.Request { return httptest.NewRequest(http.MethodGet, "http://x/", nil) }

// load is lbtest.Load that must succeed.
func load(t testing.TB, apps caddy.ModuleMap, config string) *lbtest.Proxy {
	t.Helper()
	p, err := lbtest.Load(t, apps, config, abc)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// app returns a configuration of the ballast app.
func app(pools string) caddy.ModuleMap {
	return caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{` + pools + `}}`)}
}

// events records the events of a configuration: those named, and by default changes of backends and pools.
func events(t *testing.T, p *lbtest.Proxy, names ...string) func() []string {
	if names == nil {
		names = []string{
			"backend_up", "backend_down", "backend_ejected", "backend_returned",
			"pool_panic_on", "pool_panic_off", "pool_guard_on", "pool_guard_off",
		}
	}
	return recordEvents(t, p, func(e caddy.Event) string {
		return fmt.Sprint(e.Name(), " ", e.Data["pool"], " ", e.Data["backend"], " ", e.Data["check"], " ", e.Data["reason"])
	}, names...)
}

// recordEvents records the events of these names, as describe has them.
func recordEvents(t *testing.T, p *lbtest.Proxy, describe func(caddy.Event) string, names ...string) func() []string {
	synctest.Wait() // nobody may emit while others subscribe: Caddy takes no lock
	mod, err := p.Context().App("events")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{describe: describe}
	for _, name := range names {
		if err := mod.(*caddyevents.App).On(name, r); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.seen) }
}

type recorder struct {
	describe func(caddy.Event) string

	mu   sync.Mutex
	seen []string
}

func (r *recorder) Handle(_ context.Context, e caddy.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, r.describe(e))
	return nil
}

// seconds lets virtual time pass, and what is due be done.
func seconds(n float64) {
	time.Sleep(time.Duration(n * float64(time.Second)))
	synctest.Wait()
}

func TestMain(m *testing.M) { lbtest.Main(m) }
