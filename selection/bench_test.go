// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

var benchSizes = []int{3, 100, 1000, 10000}

// benchKeys are the keys for hash policies.
var benchKeys = func() (keys [1024]string) {
	for i := range keys {
		keys[i] = fmt.Sprint("session-", i)
	}
	return keys
}()

// keyedRequest returns a request and the header values with its key.
func keyedRequest() (*http.Request, []string) {
	req, key := request(), []string{"key"}
	req.Header["X-Key"] = key
	return req, key
}

// BenchmarkSelect is the cost of a pick, by policy, pool or list, and number of backends, with keys
// for benchstat. Nothing is in flight; see BenchmarkSelectBusy.
func BenchmarkSelect(b *testing.B) {
	benchAll(b, idle, func(b *testing.B, sel reverseproxy.Selector, list reverseproxy.UpstreamPool) {
		req, key := keyedRequest()
		for i := 0; b.Loop(); i++ {
			key[0] = benchKeys[i%len(benchKeys)]
			if sel.Select(list, req, nil) == nil {
				b.Fatal("selected none")
			}
		}
	})
}

// BenchmarkSelectParallel is BenchmarkSelect on all cores.
func BenchmarkSelectParallel(b *testing.B) {
	benchAll(b, idle, func(b *testing.B, sel reverseproxy.Selector, list reverseproxy.UpstreamPool) {
		b.RunParallel(func(pb *testing.PB) {
			req, key := keyedRequest() // one for each goroutine: its placeholders have a lock
			for i := 0; pb.Next(); i++ {
				key[0] = benchKeys[i%len(benchKeys)]
				sel.Select(list, req, nil)
			}
		})
	})
}

// BenchmarkSelectBusy is BenchmarkSelect with a request in flight on each backend.
func BenchmarkSelectBusy(b *testing.B) {
	benchAll(b, busy, func(b *testing.B, sel reverseproxy.Selector, list reverseproxy.UpstreamPool) {
		req, key := keyedRequest()
		for i := 0; b.Loop(); i++ {
			key[0] = benchKeys[i%len(benchKeys)]
			sel.Select(list, req, nil)
		}
	})
}

// benchAll runs a benchmark of every policy of this package, in a pool and on a plain list, and of
// Caddy's own policies, with the same upstreams.
func benchAll(b *testing.B, with func(*testing.B, int) reverseproxy.UpstreamPool,
	run func(*testing.B, reverseproxy.Selector, reverseproxy.UpstreamPool)) {
	native := map[string]reverseproxy.Selector{
		"caddy_round_robin":   new(reverseproxy.RoundRobinSelection),
		"caddy_random_choose": reverseproxy.RandomChoiceSelection{Choose: 2},
		"caddy_least_conn":    reverseproxy.LeastConnSelection{},
		"caddy_header":        reverseproxy.HeaderHashSelection{Field: "X-Key"},
	}
	ours := policies(b)
	for _, n := range benchSizes {
		list := with(b, n)
		bench := func(name string, sel reverseproxy.Selector, list reverseproxy.UpstreamPool) {
			req, _ := keyedRequest()
			sel.Select(list, req, nil) // builds the view of the list
			if ours, ok := sel.(interface{ backends() []*backend.Backend }); ok {
				measure(ours.backends())
			}
			b.Run(fmt.Sprintf("policy=%s/backends=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				run(b, sel, list)
			})
		}
		for _, name := range slices.Sorted(maps.Keys(native)) {
			bench(name+"/where=list", native[name], list)
		}
		for _, name := range slices.Sorted(maps.Keys(ours)) {
			config := ""
			if minimal(name) != "" {
				config = name + " header X-Key"
			}
			bench(name+"/where=pool", inPool(b, ours[name], config, poolOf(list)), nil)
			bench(name+"/where=list", provisioned(b, ours[name], config), list)
		}
	}
}

// backends returns the backends that the policy picks from.
func (a *Adapter) backends() []*backend.Backend {
	if a.pool != nil {
		return a.pool.View().Members.All
	}
	return a.list.current.Load().backends
}

// measure gives backends latencies, without and with another request in flight, since backends that
// have never answered are not compared.
func measure(backends []*backend.Backend) {
	for i, b := range backends {
		for load := 1; load <= 2; load++ {
			b.Answer(&backend.Attempt{Start: clock.Now(), Load: load, Status: http.StatusOK,
				FirstByte: time.Duration(load+i%7) * time.Millisecond})
		}
	}
}

func idle(_ *testing.B, n int) reverseproxy.UpstreamPool { return upstreams(n) }

// poolOf returns a pool whose backends share the counters of the upstreams.
func poolOf(list reverseproxy.UpstreamPool) *pool.Pool {
	p, members := pool.NewPool("bench"), make([]*backend.Backend, len(list))
	for i, u := range list {
		statuses := []*health.Status{health.NewStatus(true)}
		members[i] = backend.New(p.Name, backend.Endpoint{Address: u.Dial, Settings: backend.Settings{ID: u.Dial, Weight: new(1)}},
			backend.NewState(), statuses, nil)
		members[i].Upstream.Host = u.Host
	}
	p.SetMembers(pool.NewMembers(members))
	return p
}

// busy returns upstreams with one request in flight each. Only Caddy can count requests, so a proxy
// sends real ones to backends that do not answer before the benchmark ends.
func busy(b *testing.B, n int) reverseproxy.UpstreamPool {
	release, backends := make(chan struct{}), make(lbtest.Backends)
	var sent, done sync.WaitGroup
	handler := new(reverseproxy.Handler)
	for i := range n {
		dial := fmt.Sprintf("u%d.of%d:80", i, n) // Caddy counts by address
		handler.Upstreams = append(handler.Upstreams, &reverseproxy.Upstream{Dial: dial})
		backends[dial] = func(*http.Request) (int, error) {
			sent.Done()
			<-release
			return http.StatusOK, nil
		}
	}
	handler.TransportRaw = json.RawMessage(`{"protocol":"lbtest"}`)
	handler.LoadBalancing = &reverseproxy.LoadBalancing{SelectionPolicyRaw: json.RawMessage(`{"policy":"round_robin"}`)}
	config, err := json.Marshal(handler)
	if err != nil {
		b.Fatal(err)
	}
	proxy := lbtest.NewProxy(b, string(config), backends)
	sent.Add(n)
	for range n {
		done.Go(func() {
			if _, err := proxy.Do(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)); err != nil {
				b.Error(err)
			}
		})
	}
	sent.Wait()
	b.Cleanup(func() {
		close(release)
		done.Wait()
	})
	for _, u := range proxy.Upstreams {
		if u.NumRequests() != 1 {
			b.Fatalf("%d requests in flight on %s, want 1", u.NumRequests(), u.Dial)
		}
	}
	return proxy.Upstreams
}
