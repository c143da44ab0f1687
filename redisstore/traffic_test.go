// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

const (
	// pause is between two requests of one instance.
	pause = 4 * time.Millisecond
	// users is how many clients there are. Their sessions and a limit are the fleet's.
	users = 300
	// noWait is less than a call of the store that fails takes to do so.
	noWait = 500 * time.Millisecond
)

// traffic is requests over HTTP through three instances of a fleet, and for comparison as many through a
// proxy without one. Safe for concurrent use.
type traffic struct {
	t         *testing.T
	instances []*lbtest.Proxy
	alone     *lbtest.Proxy
	backend   *httptest.Server
	quit      chan struct{}
	wg        sync.WaitGroup

	mu     sync.Mutex
	took   [2][]time.Duration // with and without a fleet
	failed []string
}

// startTraffic starts requests until stop, once the instances have their shares. Their fleet has the
// store of the tokens, with a prefix of its own.
func startTraffic(t *testing.T, tokens string) *traffic {
	t.Helper()
	l := &traffic{t: t, quit: make(chan struct{})}
	l.backend = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	t.Cleanup(l.backend.Close)
	s, err := parse(tokens)
	if err != nil {
		t.Fatal(err)
	}
	s.Prefix = "traffic"
	store, _ := json.Marshal(struct {
		Module string `json:"module"`
		*Store
	}{"redis", s})
	l.alone = l.load("alone", nil, "")
	for i := range 3 {
		name := fmt.Sprint("proxy", i)
		app := fmt.Sprintf(`{"fleet":{"id":%q,"heartbeat":%q,"store":%s}}`, name, heartbeat, store)
		l.instances = append(l.instances, l.load(name, caddy.ModuleMap{"ballast": json.RawMessage(app)}, `,"max_requests":100,"max_requests_fleet":true`))
	}
	t.Cleanup(l.stop)
	eventually(t, "all instances have their shares", l.connected)
	for i, p := range l.instances {
		l.wg.Go(func() { l.run(i, p) })
	}
	return l
}

// load loads a proxy with a pool.
func (l *traffic) load(name string, apps caddy.ModuleMap, more string) *lbtest.Proxy {
	l.t.Helper()
	p, err := lbtest.Load(l.t, apps, fmt.Sprintf(`{
		"load_balancing":{"selection_policy":{"policy":"sticky","header":"X-User","fallback":{"policy":"p2c"}}},
		"dynamic_upstreams":{"source":"pool","name":%q,"backends":[{"dial":%q%s}]}
	}`, "traffic-"+name, strings.TrimPrefix(l.backend.URL, "http://"), more), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func (l *traffic) run(first int, p *lbtest.Proxy) {
	for n := first; ; n++ {
		select {
		case <-l.quit:
			return
		case <-time.After(pause):
		}
		user := fmt.Sprint("user ", n%users)
		proxies := [2]*lbtest.Proxy{p, l.alone}
		for i := range proxies { // in turn, since the second finds the caches warm
			kind := (i + n) % 2
			l.send(kind, proxies[kind], user)
		}
	}
}

func (l *traffic) send(kind int, p *lbtest.Proxy, user string) {
	req := httptest.NewRequest(http.MethodGet, "http://traffic/", nil)
	req.Header.Set("X-User", user)
	began := time.Now()
	r := p.Serve(req)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took[kind] = append(l.took[kind], took)
	if r.Err != nil || r.Status != http.StatusOK || r.Body.String() != "hello" {
		l.failed = append(l.failed, fmt.Sprint(r.Status, " ", r.Err))
	}
}

// connected reports whether all instances reach the store, and each other, and have their shares.
func (l *traffic) connected() bool {
	return !slices.ContainsFunc(l.instances, func(p *lbtest.Proxy) bool {
		f := fleet.Of(p.Context())
		i := f.Instances()
		return !f.Status().Store.Connected || i.Alone || i.Len() != len(l.instances) || !i.Settled()
	})
}

// reset begins to measure anew.
func (l *traffic) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = [2][]time.Duration{}
}

// mustNotWait checks that no request has failed, and that what is measured does not depend on the
// store: who waited for a call of it would wait longer than noWait. A busy machine may delay a few.
func (l *traffic) mustNotWait() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.failed); n > 0 {
		l.t.Errorf("%d requests failed, the first ones: %q", n, l.failed[:min(n, 3)])
	}
	var at [2][2]time.Duration
	for kind := range l.took {
		sorted := slices.Sorted(slices.Values(l.took[kind]))
		if len(sorted) < 100 {
			l.t.Fatalf("only %d requests in the fault", len(sorted))
		}
		for i, q := range []float64{0.5, 0.99} {
			at[kind][i] = sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
		}
	}
	l.t.Logf("in the fault, of %d requests: p50 %v and p99 %v, and without a fleet %v and %v", len(l.took[0]), at[0][0], at[0][1], at[1][0], at[1][1])
	if at[0][1] >= noWait {
		l.t.Errorf("the p99 of the requests is %v", at[0][1])
	}
}

// stop ends the requests, the instances and the backend. It may be called again.
func (l *traffic) stop() {
	select {
	case <-l.quit:
		return
	default:
	}
	close(l.quit)
	l.wg.Wait()
	for _, p := range append(l.instances, l.alone) {
		p.Close()
	}
	l.backend.CloseClientConnections()
	l.backend.Close()
}
