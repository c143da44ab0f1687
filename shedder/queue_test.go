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

// queued is a site with one slot. A request holds it until finish.
type queued struct {
	*site
	t       *testing.T
	mu      sync.Mutex
	order   []string // in which requests were admitted
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

// send sends a request and returns when it is admitted, refused or queued.
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

// finishAll lets all requests complete.
func (q *queued) finishAll() {
	close(q.finish)
	q.waiting.Wait()
}

// reply returns the outcome of a request, and its duration.
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

// Without overload the queue is FIFO, and admits a request as soon as a slot is free.
func TestQueueWithoutOverload(t *testing.T) {
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
			t.Errorf("admitted %v, want %v", q.order, want)
		}
		if q.replies["/0"].shed != "admitted" || q.replies["/3"].shed != "queued" || q.reasons("/4")[0] != "queue_full" || q.took["/4"] != 0 {
			t.Errorf("%+v", q.replies)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("the wait was %v", took)
		}
		if n := q.Metric(t, "caddy_ballast_shed_queued_total"); n != 3 {
			t.Errorf("%v were counted as queued", n)
		}
	})
}

// A request whose client leaves is removed from the queue, and a request waits no longer than the
// timeout.
func TestQueueLeave(t *testing.T) {
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
			t.Errorf("admitted %v", q.order)
		}
	})
}

// Once requests have waited without a break for the whole timeout, the newest is next, and requests
// that have waited for longer than a twentieth of it are refused.
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
			t.Errorf("admitted %v, want %v", q.order, want)
		}
	})
}

// In overload a new request replaces the oldest in a full queue.
func TestQueueFullInOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, `{"limiter":{"limiter":"fixed","limit":1},"queue":{"size":2,"timeout":"1s"}}`)
		q.send(t.Context(), "/held")
		q.send(t.Context(), "/a")
		time.Sleep(980 * time.Millisecond)
		q.send(t.Context(), "/b")
		q.send(t.Context(), "/full") // not yet in overload
		time.Sleep(30 * time.Millisecond)
		q.send(t.Context(), "/c") // replaces /a, which has waited too long
		q.send(t.Context(), "/d") // replaces /b
		if got, want := q.reasons("/a", "/b", "/full", "/c", "/d"), []string{"queue_timeout", "queue_delay", "queue_full", "", ""}; !slices.Equal(got, want) {
			t.Errorf("reasons %v, want %v", got, want)
		}
		q.finishAll()
	})
}

// Higher levels are ahead of lower ones in the queue, and preempt them.
func TestQueuePriorities(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueued(t, fixedQueue+`,"priorities":[{"level":"critical","match":[{"path":["/crit*"]}]},{"level":"low","match":[{"path":["/low*"]}]}]}`)
		for _, path := range []string{"/crit-held", "/low1", "/low2", "/normal", "/crit1", "/crit2", "/low3"} {
			q.send(t.Context(), path)
		}
		if got := q.reasons("/low1", "/low2", "/low3"); got[0] != "outranked" || got[1] != "outranked" || got[2] != "queue_full" {
			t.Errorf("reasons of the low level: %v", got)
		}
		for range 4 {
			q.finish <- struct{}{}
			synctest.Wait()
		}
		q.finishAll()
		if want := []string{"/crit-held", "/crit1", "/crit2", "/normal"}; !slices.Equal(q.order, want) {
			t.Errorf("admitted %v, want %v", q.order, want)
		}
	})
}

// A queue before an adaptive limit holds bursts that would be refused, and does not lower the
// goodput under overload.
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
		// Overload begins after half a second; then no request waits longer than 25ms.
		if over.p99 > 3*unloaded+25*time.Millisecond {
			t.Errorf("p99 %v", over.p99)
		}
	})
}
