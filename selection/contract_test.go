// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// policies returns every registered policy of this package by name.
func policies(t testing.TB) map[string]func() caddy.Module {
	found := make(map[string]func() caddy.Module)
	for _, name := range lbtest.Policies() {
		info, err := caddy.GetModule(namespace + name)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = info.New
	}
	return found
}

// minimal returns the required options of a policy, or "".
func minimal(name string) string {
	if slices.Contains(lbtest.Policies(lbtest.ByKey), name) {
		return name + " client_ip"
	}
	return ""
}

// complete returns the configuration of a policy with its required options, unless it has
// arguments.
func complete(name, config string) string {
	_, rest, _ := strings.Cut(config, " ")
	if minimal(name) == "" || rest != "" && !strings.HasPrefix(rest, "{ ") && !strings.HasPrefix(rest, "{\n") {
		return config
	}
	return strings.TrimSpace(minimal(name) + " " + rest)
}

// leastJSON returns the policy of that name in JSON, with its required options.
func leastJSON(name string) string {
	if _, key, ok := strings.Cut(minimal(name), " "); ok {
		return fmt.Sprintf(`{"policy":%q,"key":%q}`, name, key)
	}
	return fmt.Sprintf(`{"policy":%q}`, name)
}

// provisioned returns a policy that is ready for use outside a proxy.
func provisioned(t testing.TB, newPolicy func() caddy.Module, config string) reverseproxy.Selector {
	t.Helper()
	mod := newPolicy()
	if config = complete(mod.CaddyModule().ID.Name(), config); config != "" {
		if err := mod.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(config)); err != nil {
			t.Fatal(err)
		}
	}
	if err := mod.(caddy.Provisioner).Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return mod.(reverseproxy.Selector)
}

func upstreams(n int) reverseproxy.UpstreamPool {
	p := make(reverseproxy.UpstreamPool, n)
	for i := range p {
		p[i] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprint("u", i)}
	}
	return p
}

// request returns a request as the proxy hands it to a policy.
func request() *http.Request {
	w := httptest.NewRecorder()
	return lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil), caddy.NewReplacer(), w)
}

// testPool returns a pool with a backend for each weight, named u0, u1, ..., and the statuses that
// set their health.
func testPool(weights ...int) (*pool.Pool, []*health.Status) {
	p := pool.NewPool("test")
	members := make([]*backend.Backend, len(weights))
	statuses := make([]*health.Status, len(weights))
	for i, w := range weights {
		name := fmt.Sprint("u", i)
		statuses[i] = health.NewStatus(true)
		members[i] = backend.New(p.Name, backend.Endpoint{Address: name, Settings: backend.Settings{ID: name, Weight: new(w)}},
			backend.NewState(), statuses[i:i+1], nil)
	}
	p.SetMembers(pool.NewMembers(members))
	return p, statuses
}

// Every policy of this package meets the same contract.
func TestContract(t *testing.T) {
	for name, newPolicy := range policies(t) {
		t.Run(name, func(t *testing.T) {
			t.Run("junk in a Caddyfile is rejected", func(t *testing.T) {
				for _, bad := range []string{
					" { nope\n}", " {\n nope\n}", " {\n weights\n}", " {\n weights x\n}", " {\n weights -1\n}",
					" {\n weights 1\n weights 1\n}", " 2 3 4", " {\n weights 65536\n}", " junk",
				} {
					mod := newPolicy().(caddyfile.Unmarshaler)
					if err := mod.UnmarshalCaddyfile(caddyfile.NewTestDispenser(complete(name, name+bad))); err == nil {
						t.Errorf("accepted %q", bad)
					} else if !strings.Contains(err.Error(), "Testfile:") {
						t.Errorf("no file and line in %q", err)
					}
				}
			})
			t.Run("all-zero weights are rejected", func(t *testing.T) {
				mod := newPolicy()
				if err := mod.(caddyfile.Unmarshaler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(complete(name, name))); err != nil {
					t.Fatal(err)
				}
				reflect.ValueOf(mod).Elem().FieldByName("Weights").Set(reflect.ValueOf([]int{0, 0}))
				if err := mod.(caddy.Provisioner).Provision(caddy.Context{}); err == nil {
					t.Error("accepted weights 0 0")
				}
			})
			t.Run("a nil writer and a bare request are accepted", func(t *testing.T) {
				sel := provisioned(t, newPolicy, name)
				bare, _ := http.NewRequest(http.MethodGet, "/", nil)
				if u := sel.Select(nil, bare, nil); u != nil {
					t.Errorf("selected %v from an empty pool", u)
				}
				if u := sel.Select(upstreams(1), bare, nil); u == nil {
					t.Error("no upstream of one available one")
				}
			})
			t.Run("the list may change between picks", func(t *testing.T) { testChangingList(t, newPolicy) })
			t.Run("a pick does not allocate", func(t *testing.T) { testAllocations(t, newPolicy) })
			t.Run("weight 0 gets no request", func(t *testing.T) { testZeroWeight(t, newPolicy) })
			t.Run("parallel use", func(t *testing.T) { testParallel(t, newPolicy) })
			t.Run("a backend that is down gets no request", func(t *testing.T) { testDown(t, newPolicy) })
			t.Run("equal backends get fair shares", func(t *testing.T) { testFairness(t, newPolicy) })
			t.Run("a pick stays in the group", func(t *testing.T) { testGroup(t, newPolicy) })
			t.Run("a limit is respected", func(t *testing.T) { testLimit(t, newPolicy) })
			t.Run("a limit is respected in parallel", func(t *testing.T) { testLimitParallel(t, newPolicy) })
		})
	}
}

func testChangingList(t *testing.T, newPolicy func() caddy.Module) {
	sel := provisioned(t, newPolicy, "")
	same := upstreams(3)
	for _, p := range []reverseproxy.UpstreamPool{upstreams(1), upstreams(5), same, upstreams(2), same, same[1:], same[:2]} {
		for range 20 {
			u := sel.Select(p, request(), nil)
			if u == nil {
				t.Fatalf("no upstream of %d available ones", len(p))
			}
			if !contains(p, u) {
				t.Fatalf("selected %s, which is not in the list", u.Dial)
			}
		}
	}
	// Other code overwrites the elements of the same list.
	same[0], same[1], same[2] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "x0"},
		&reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "x1"}, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "x2"}
	for range 20 {
		if u := sel.Select(same, request(), nil); u == nil || !contains(same, u) {
			t.Fatalf("selected %v after the list was overwritten", u)
		}
	}
}

func contains(p reverseproxy.UpstreamPool, u *reverseproxy.Upstream) bool {
	for _, v := range p {
		if u == v {
			return true
		}
	}
	return false
}

func testAllocations(t *testing.T, newPolicy func() caddy.Module) {
	bare, _ := http.NewRequest(http.MethodGet, "/", nil)
	for _, req := range []*http.Request{bare, request()} {
		for n := 1; n < 6; n++ {
			sel, p := provisioned(t, newPolicy, ""), upstreams(n)
			if a := testing.AllocsPerRun(100, func() { sel.Select(p, req, nil) }); a > 0 {
				t.Errorf("%v allocations per pick from a list of %d", a, n)
			}
		}
		sel := provisioned(t, newPolicy, "")
		p, _ := testPool(5, 1, 1, 3)
		if err := sel.(proxyhook.PoolUser).UsePool(p); err != nil {
			t.Fatal(err)
		}
		if a := testing.AllocsPerRun(100, func() { sel.Select(nil, req, nil) }); a > 0 {
			t.Errorf("%v allocations per pick from a pool", a)
		}
	}
}

// inPool returns a policy that picks from a pool.
func inPool(t testing.TB, newPolicy func() caddy.Module, config string, p *pool.Pool) reverseproxy.Selector {
	t.Helper()
	sel := provisioned(t, newPolicy, config)
	if err := sel.(proxyhook.PoolUser).UsePool(p); err != nil {
		t.Fatal(err)
	}
	return sel
}

func testZeroWeight(t *testing.T, newPolicy func() caddy.Module) {
	p, _ := testPool(0, 1, 0, 2)
	inside := inPool(t, newPolicy, "", p)
	list := provisioned(t, newPolicy, "policy {\n weights 0 1 0 2\n}")
	for range 200 {
		for _, u := range []*reverseproxy.Upstream{inside.Select(nil, request(), nil), list.Select(upstreams(4), request(), nil)} {
			if u == nil || u.Dial == "u0" || u.Dial == "u2" {
				t.Fatalf("selected %v", u)
			}
		}
	}
}

func testDown(t *testing.T, newPolicy func() caddy.Module) {
	p, statuses := testPool(1, 1, 1)
	sel := inPool(t, newPolicy, "", p)
	statuses[1].Observe(errDown, 1, 1) // without a new view
	for range 100 {
		if u := sel.Select(nil, request(), nil); u == nil || u.Dial == "u1" {
			t.Fatalf("selected %v before the view changed", u)
		}
	}
	p.Publish()
	for range 100 {
		if u := sel.Select(nil, request(), nil); u == nil || u.Dial == "u1" {
			t.Fatalf("selected %v", u)
		}
	}
	for _, v := range statuses {
		v.Observe(errDown, 1, 1)
	}
	for range 2 {
		w, repl := httptest.NewRecorder(), caddy.NewReplacer()
		req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil), repl, w)
		if u := sel.Select(nil, req, nil); u != nil {
			t.Fatalf("selected %v of a pool that is down", u)
		}
		if reason, _ := repl.GetString("http.ballast.reason"); reason != string(pool.ReasonDown) {
			t.Errorf("reason %q, want %q", reason, pool.ReasonDown)
		}
		p.Publish()
	}
}

type downError struct{}

func (downError) Error() string { return "down" }

var errDown = downError{}

func testParallel(t *testing.T, newPolicy func() caddy.Module) {
	p, statuses := testPool(5, 1, 1, 1)
	inside, list := inPool(t, newPolicy, "", p), provisioned(t, newPolicy, "")
	fixed, rounds := upstreams(4), 500
	if minimal(list.(caddy.Module).CaddyModule().ID.Name()) != "" {
		rounds = 16 // each change builds a large table
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range rounds {
				if u := inside.Select(nil, request(), nil); u == nil {
					t.Error("no upstream from a pool")
				}
				mine := fixed
				if i%2 == 0 {
					mine = upstreams(1 + (g+i)%5)
				}
				if u := list.Select(mine, request(), nil); u == nil || !contains(mine, u) {
					t.Errorf("selected %v, which is not in the list", u)
				}
				if g == 0 { // one backend flaps
					if i%2 == 0 {
						statuses[1].Observe(errDown, 1, 1)
					} else {
						statuses[1].Observe(nil, 1, 1)
					}
					p.Publish()
				}
			}
		})
	}
	wg.Wait()
}

// limitedPool returns a pool of n backends with a limit each.
func limitedPool(n, limit int) *pool.Pool {
	p, members := pool.NewPool("limited"), make([]*backend.Backend, n)
	for i := range members {
		name := fmt.Sprint("u", i)
		members[i] = backend.New(p.Name, backend.Endpoint{Address: name, Settings: backend.Settings{ID: name, Weight: new(1), MaxRequests: new(limit)}},
			backend.NewState(), nil, nil)
	}
	p.SetMembers(pool.NewMembers(members))
	return p
}

// keyedInPool is inPool with a header as the key of a keyed policy.
func keyedInPool(t testing.TB, newPolicy func() caddy.Module, p *pool.Pool) reverseproxy.Selector {
	name, config := newPolicy().CaddyModule().ID.Name(), ""
	if minimal(name) != "" {
		config = name + " header X-Key"
	}
	return inPool(t, newPolicy, config, p)
}

// endable returns a request with a key, and the function that ends it.
func endable(key string) (req *http.Request, repl *caddy.Replacer, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	repl = caddy.NewReplacer()
	req = lbtest.Prepare(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://lbtest/", nil), repl, httptest.NewRecorder())
	if key != "" {
		req.Header.Set("X-Key", key)
	}
	return req, repl, cancel
}

// Three backends with a limit of two requests get six. The seventh gets a slot when another request
// has ended, also if that was never sent.
func testLimit(t *testing.T, newPolicy func() caddy.Module) {
	for _, key := range []string{"", "one", "%d"} {
		synctest.Test(t, func(t *testing.T) {
			p := limitedPool(3, 2)
			sel := keyedInPool(t, newPolicy, p)
			selected, ends := make(map[string]int), make(map[string]func())
			for n := range 6 {
				req, _, end := endable(strings.ReplaceAll(key, "%d", fmt.Sprint(n)))
				u := sel.Select(nil, req, nil)
				if u == nil {
					t.Fatalf("no backend for request %d of 6", n+1)
				}
				selected[u.Dial]++
				ends[u.Dial] = end
				defer end()
			}
			if selected["u0"] != 2 || selected["u1"] != 2 || selected["u2"] != 2 {
				t.Fatalf("selected %v, want two each", selected)
			}
			for _, name := range []string{"u1", "u0", "u2"} {
				req, repl, end := endable(key)
				defer end()
				for range 2 {
					if u := sel.Select(nil, req, nil); u != nil {
						t.Fatalf("selected %s although all are full", u.Dial)
					}
					if reason, _ := repl.GetString("http.ballast.reason"); reason != string(pool.ReasonFull) {
						t.Errorf("reason %q, want %q", reason, pool.ReasonFull)
					}
				}
				ends[name]()
				synctest.Wait()
				// A second selection of the same request releases the slot of the first.
				for range 2 {
					if u := sel.Select(nil, req, nil); u == nil || u.Dial != name {
						t.Fatalf("selected %v, want %s, which has a free slot", u, name)
					}
				}
			}
		})
	}
}

func testLimitParallel(t *testing.T, newPolicy func() caddy.Module) {
	const limit = 3
	p := limitedPool(5, limit)
	sel := keyedInPool(t, newPolicy, p)
	var taken [5]atomic.Int32
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 300 {
				req, _, end := endable(fmt.Sprint(n % 7))
				var u *reverseproxy.Upstream
				if u = sel.Select(nil, req, nil); u != nil {
					i := int(u.Dial[1] - '0')
					if now := taken[i].Add(1); now > limit {
						t.Errorf("%s has %d, more than %d", u.Dial, now, limit)
					}
					if (g+n)%3 > 0 {
						runtime.Gosched()
					}
					taken[i].Add(-1)
				}
				end()
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		n := 0
		for _, b := range p.View().Members.All {
			n += b.Taken()
		}
		if n == 0 {
			return
		}
	}
	t.Error("slots are not released")
}
