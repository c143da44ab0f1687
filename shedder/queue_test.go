// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// queued is a site of one place, of which the request in it is over when told.
type queued struct {
	*site
	t       *testing.T
	mu      sync.Mutex
	order   []string // in which requests were let in
	finish  chan struct{}
	waiting sync.WaitGroup
	replies map[string]reply
	took    map[string]time.Duration
}

func newQueued(t *testing.T, config string) *queued {
	q := &queued{t: t, finish: make(chan struct{}), replies: make(map[string]reply), took: make(map[string]time.Duration)}
	q.site = newSite(t, config, oneBackend, nil)
	q.next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		q.mu.Lock()
		q.order = append(q.order, r.URL.Path)
		q.mu.Unlock()
		<-q.finish
		w.WriteHeader(http.StatusOK)
		return nil
	})
	return q
}

// send sends a request and returns when it is let in, refused, or waits.
func (q *queued) send(ctx context.Context, path string) {
	began := time.Now()
	q.waiting.Go(func() {
		r := q.do(get(path).WithContext(ctx))
		q.mu.Lock()
		defer q.mu.Unlock()
		q.replies[path], q.took[path] = r, time.Since(began)
	})
	synctest.Wait()
}

// finishAll lets everything in and out.
func (q *queued) finishAll() {
	close(q.finish)
	q.waiting.Wait()
}

// reply returns what became of a request, and after how long.
func (q *queued) reply(path string) (reply, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.replies[path], q.took[path]
}

func (q *queued) reasons(paths ...string) (all []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range paths {
		all = append(all, q.replies[p].reason)
	}
	return all
}

const fixedQueue = `{"limiter":{"limiter":"fixed","limit":1},"queue":{"size":3,"timeout":"1s"}`

// In calm, the first to come is the first to be let in, at the very moment in
// which there is room.
func TestQueueInCalm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, fixedQueue+`}`)
		began := time.Now()
		for i := range 5 {
			q.send(t.Context(), fmt.Sprint("/", i))
		}
		time.Sleep(100 * time.Millisecond)
		for range 4 {
			q.finish <- struct{}{}
			synctest.Wait()
		}
		q.waiting.Wait()
		if want := []string{"/0", "/1", "/2", "/3"}; !slices.Equal(q.order, want) {
			t.Errorf("let in %v, want %v", q.order, want)
		}
		if q.replies["/0"].shed != "admitted" || q.replies["/3"].shed != "queued" || q.reasons("/4")[0] != "queue_full" || q.took["/4"] != 0 {
			t.Errorf("%+v", q.replies)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if n := q.Metric(t, "caddy_ballast_shed_queued_total"); n != 3 {
			t.Errorf("%v were counted as queued", n)
		}
	})
}

// One whose client leaves makes room, and one waits no longer than the timeout.
func TestQueueLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, fixedQueue+`}`)
		ctx, cancel := context.WithCancel(t.Context())
		q.send(t.Context(), "/held")
		q.send(ctx, "/leaves")
		q.send(t.Context(), "/stays")
		cancel()
		synctest.Wait()
		if n := q.Metric(t, "caddy_ballast_shed_queue_length"); n != 1 || q.reasons("/leaves")[0] != "client_gone" {
			t.Errorf("%v wait, %v", n, q.reasons("/leaves"))
		} else if r, _ := q.reply("/leaves"); r.status != 499 {
			t.Errorf("%+v", r)
		}
		time.Sleep(2 * time.Second)
		if r, took := q.reply("/stays"); r.reason != "queue_timeout" || took != time.Second {
			t.Errorf("%+v after %v", r, took)
		}
		q.finishAll()
		if !slices.Equal(q.order, []string{"/held"}) {
			t.Errorf("let in %v", q.order)
		}
	})
}

// Once requests have waited without a break for all of the timeout, the newest is
// next, and what has waited for longer than a twentieth is refused.
func TestQueueInOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, fixedQueue+`}`)
		q.send(t.Context(), "/held")
		q.send(t.Context(), "/first")
		time.Sleep(500 * time.Millisecond)
		q.send(t.Context(), "/old")
		time.Sleep(490 * time.Millisecond)
		q.send(t.Context(), "/middle")
		time.Sleep(20 * time.Millisecond) // 1.01s since the first, 510ms since /old, 20ms since /middle
		q.send(t.Context(), "/new")
		if got, want := q.reasons("/first", "/old", "/middle"), []string{"queue_timeout", "queue_delay", ""}; !slices.Equal(got, want) {
			t.Errorf("reasons %q, want %q", got, want)
		}
		q.finish <- struct{}{}
		synctest.Wait()
		q.finish <- struct{}{}
		synctest.Wait()
		q.finishAll()
		if want := []string{"/held", "/new", "/middle"}; !slices.Equal(q.order, want) {
			t.Errorf("let in %v, want %v", q.order, want)
		}
	})
}

// In overload a full queue has room for the newest.
func TestQueueFullInOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, `{"limiter":{"limiter":"fixed","limit":1},"queue":{"size":2,"timeout":"1s"}}`)
		q.send(t.Context(), "/held")
		q.send(t.Context(), "/a")
		time.Sleep(980 * time.Millisecond)
		q.send(t.Context(), "/b")
		q.send(t.Context(), "/full") // in calm
		time.Sleep(30 * time.Millisecond)
		q.send(t.Context(), "/c") // in the place of /a, whose time is over
		q.send(t.Context(), "/d") // in that of /b
		if got, want := q.reasons("/a", "/b", "/full", "/c", "/d"), []string{"queue_timeout", "queue_delay", "queue_full", "", ""}; !slices.Equal(got, want) {
			t.Errorf("reasons %v, want %v", got, want)
		}
		q.finishAll()
	})
}

// Higher levels wait before lower ones, and take their places.
func TestQueuePriorities(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, fixedQueue+`,"priorities":[{"level":"critical","match":[{"path":["/crit*"]}]},{"level":"low","match":[{"path":["/low*"]}]}]}`)
		for _, path := range []string{"/crit-held", "/low1", "/low2", "/normal", "/crit1", "/crit2", "/low3"} {
			q.send(t.Context(), path)
		}
		if got := q.reasons("/low1", "/low2", "/low3"); got[0] != "outranked" || got[1] != "outranked" || got[2] != "queue_full" {
			t.Errorf("the low ones: %v", got)
		}
		for range 4 {
			q.finish <- struct{}{}
			synctest.Wait()
		}
		q.finishAll()
		if want := []string{"/crit-held", "/crit1", "/crit2", "/normal"}; !slices.Equal(q.order, want) {
			t.Errorf("let in %v, want %v", q.order, want)
		}
	})
}

// A queue before an adaptive limit has bursts wait that would be refused, and
// costs nothing under overload.
func TestSimulationQueueBeforeAdaptive(t *testing.T) {
	lbtest.Simulation(t)
	bubble(t, func(t *testing.T) {
		const length = 10 * time.Second
		queue := func(name string) *site {
			return newSite(t, `{"name":"`+name+`","queue":{"size":100,"timeout":"500ms"}}`, poolProxy, newThree().backends())
		}
		calm := figuresOf(offered{rate: capacity, length: length, seed: 6}.send(queue("calm")), 0, length)
		over := figuresOf(offered{rate: 3 * capacity, length: length, seed: 6}.send(queue("over")), 2*time.Second, length)
		t.Logf("1x: %v; 3x: %v", calm, over)
		if calm.goodput < 0.97*capacity || over.goodput < 0.97*capacity {
			t.Errorf("goodput %.0f and %.0f", calm.goodput, over.goodput)
		}
		// After half a second it is overload, in which none waits longer than 25ms.
		if over.p99 > 3*unloaded+25*time.Millisecond {
			t.Errorf("p99 %v", over.p99)
		}
	})
}
