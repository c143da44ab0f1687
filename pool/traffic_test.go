// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// traffic is requests at a steady rate, sent whether or not those before were
// answered.
type traffic struct {
	rate     int // a second
	length   time.Duration
	patience time.Duration // after which the client leaves, 0 for none
	path     func(n int) string
}

// counted is what became of traffic.
type counted struct {
	sent, lost int
	lostSince  func(time.Duration) int // requests sent at that time or later, that were lost
	served     map[string]int          // by who answered
}

// send sends traffic through p and waits until all of it has ended.
func (tr traffic) send(p *lbtest.Proxy) (c counted) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var lost []time.Duration
	c.served = make(map[string]int)
	began := time.Now()
	for ; time.Since(began) < tr.length; c.sent++ {
		at, path := time.Since(began), "/"
		if tr.path != nil {
			path = tr.path(c.sent)
		}
		wg.Go(func() {
			ctx, cancel := context.Background(), func() {}
			if tr.patience > 0 {
				ctx, cancel = context.WithTimeout(ctx, tr.patience)
			}
			defer cancel()
			w, err := p.Do(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x"+path, nil))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || w.Code >= 500 {
				lost = append(lost, at)
				return
			}
			c.served[w.Header().Get("X-Upstream")]++
		})
		time.Sleep(time.Second / time.Duration(tr.rate))
	}
	wg.Wait()
	c.lost = len(lost)
	c.lostSince = func(since time.Duration) (n int) {
		for _, at := range lost {
			if at >= since {
				n++
			}
		}
		return n
	}
	return c
}

// after returns a backend that is one and then, so long after it was first
// asked, another.
func after(d time.Duration, before, then lbtest.Answerer) lbtest.Answerer {
	var began time.Time
	begin := sync.OnceFunc(func() { began = time.Now() })
	return func(req *http.Request) (int, error) {
		begin()
		if time.Since(began) < d {
			return before(req)
		}
		return then(req)
	}
}

// hang answers nothing while the client waits.
func hang(req *http.Request) (int, error) {
	<-req.Context().Done()
	return 0, req.Context().Err()
}

// status answers at once.
func status(code int) lbtest.Answerer {
	return func(*http.Request) (int, error) { return code, nil }
}

const fast = 5 * time.Millisecond

// three are backends of which the first is as given.
func three(first lbtest.Answerer) lbtest.Backends {
	return lbtest.Backends{"a:1": first, "b:1": lbtest.Latency(fast), "c:1": lbtest.Latency(fast)}
}

// pooled loads a proxy with an inline pool of a:1, b:1 and c:1.
func pooled(t *testing.T, policy, loadBalancing, pool string, backends lbtest.Backends) *lbtest.Proxy {
	t.Helper()
	if pool != "" {
		pool = "," + pool
	}
	p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},
		"load_balancing":{"selection_policy":%s%s},"dynamic_upstreams":{"source":"pool",%s%s}}`,
		policy, loadBalancing, dials("a:1", "b:1", "c:1"), pool), backends)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// count returns how many of some events begin so.
func count(events []string, prefix string) (n int) {
	for _, e := range events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}
