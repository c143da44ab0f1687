// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// capMeter counts the requests that a backend has in flight from all instances.
type capMeter struct {
	mu    sync.Mutex
	cap   int
	now   int
	since time.Time     // since when now is above cap; zero for not
	peak  int           // the most in flight since reset
	above time.Duration // the longest time above cap
	total int
}

func (m *capMeter) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now += n; n > 0 {
		m.total++
	}
	m.peak = max(m.peak, m.now)
	switch {
	case m.now > m.cap && m.since.IsZero():
		m.since = time.Now()
	case m.now <= m.cap && !m.since.IsZero():
		m.above = max(m.above, time.Since(m.since))
		m.since = time.Time{}
	}
}

// reset returns what was measured since the last call.
func (m *capMeter) reset() (peak, total int, above time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	peak, total, above = m.peak, m.total, m.above
	m.peak, m.total, m.above = m.now, 0, 0
	return peak, total, above
}

func (m *capMeter) answer(req *http.Request) (int, error) {
	m.add(1)
	defer m.add(-1)
	lbtest.Wait(req.Context(), time.Duration(20+rand.IntN(80))*time.Millisecond)
	return http.StatusOK, nil
}

// load sends requests through an instance from many clients until the function is called, which waits
// for their end.
func (n *node) load(clients int) (end func()) {
	quit := make(chan struct{})
	var all sync.WaitGroup
	p := n.Proxy
	for range clients {
		all.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				if _, err := p.Get(); err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return func() { close(quit); all.Wait() }
}

// All instances together never have more requests in flight than a limit of the fleet. While one joins
// or dies they have at most one share more, for at most three heartbeats.
func TestFleetLimit(t *testing.T) {
	const limit, clients = 12, 8 // 2 or 3 for each of five instances
	synctest.Test(t, func(t *testing.T) {
		m, counted := fleettest.NewMemory(), &capMeter{cap: limit}
		pool := fmt.Sprintf(`"backends":[{"dial":"a:1","max_requests":%d,"max_requests_fleet":true}],"queue":{"size":100,"timeout":"500ms"}`, limit)
		start := func(name string) (*node, func()) {
			n := newNode(t, m, name, lbtest.Backends{"a:1": counted.answer})
			n.start(pool)
			return n, n.load(clients)
		}
		var all []*node
		var ends []func()
		for i := range 5 {
			n, end := start(string(rune('a' + i)))
			all, ends = append(all, n), append(ends, end)
		}
		seconds(5)
		counted.reset()
		steady := func(when string) {
			t.Helper()
			seconds(10)
			peak, total, _ := counted.reset()
			if peak > limit || total < 500 {
				t.Errorf("%s: %d in flight at once, %d in 10s", when, peak, total)
			}
			sum := 0
			for _, n := range all {
				sum += n.find("a:1").Limit()
			}
			if sum != limit {
				t.Errorf("%s: the shares add up to %d", when, sum)
			}
		}
		change := func(when string) {
			t.Helper()
			seconds(5)
			if peak, _, above := counted.reset(); peak > limit+limit/4 || above > 3*time.Second {
				t.Errorf("%s: %d in flight at once, above the limit for %v", when, peak, above)
			}
		}
		steady("with five")
		n, end := start("f")
		all, ends = append(all, n), append(ends, end)
		change("when one joins")
		steady("with six")
		// One dies: it loses the store first.
		all[0].link.Fail(errors.New("cut off"))
		ends[0]()
		all[0].end()
		all, ends = all[1:], ends[1:]
		change("when one dies")
		steady("after one has died")
		// A partition: all keep their shares, and none gets more.
		for _, n := range all {
			n.link.Fail(errors.New("cut off"))
		}
		steady("while the store is lost")
		for _, n := range all {
			n.link.Fail(nil)
		}
		seconds(5)
		if peak, _, _ := counted.reset(); peak > limit {
			t.Errorf("when the store returns: %d in flight at once", peak)
		}
		steady("after the store has returned")
		for _, end := range ends {
			end()
		}
	})
	lbtest.NoLeaks(t)
}

// A share that becomes smaller ends no request.
func TestFleetLimitCutsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fleettest.NewMemory()
		pool := `"backends":[{"dial":"a:1","max_requests":4,"max_requests_fleet":true}]`
		n := newNode(t, m, "a", lbtest.Backends{"a:1": lbtest.Latency(20 * time.Second)})
		n.start(pool)
		seconds(5)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := n.Get(); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		other := newNode(t, m, "b", answering("a:1"))
		other.start(pool)
		seconds(5)
		if b := n.find("a:1"); b.Limit() != 2 || b.InFlight() != 4 || !b.Full() {
			t.Errorf("limit %d, %d in flight", b.Limit(), b.InFlight())
		}
		if b := other.find("a:1"); b.Limit() != 2 {
			t.Errorf("the other's limit is %d", b.Limit())
		}
		if _, err := n.Get(); err == nil {
			t.Error("admitted above the share")
		}
		all.Wait()
		if _, err := other.Get(); err != nil {
			t.Error(err)
		}
	})
	lbtest.NoLeaks(t)
}

// Requests that wait since before a reload keep to a share that has become smaller since.
func TestFleetLimitOfWaitingRequestsOverReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, counted := fleettest.NewMemory(), &capMeter{cap: 2}
		pool := `"backends":[{"dial":"a:1","max_requests":4,"max_requests_fleet":true}],"queue":{"size":100,"timeout":"2m"}`
		n := newNode(t, m, "a", lbtest.Backends{"a:1": func(req *http.Request) (int, error) {
			counted.add(1)
			defer counted.add(-1)
			return lbtest.Latency(20 * time.Second)(req)
		}})
		n.start(pool)
		seconds(5)
		var all sync.WaitGroup
		before := n.Proxy
		for range 10 {
			all.Go(func() {
				if _, err := before.Get(); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		n.start(pool)
		other := newNode(t, m, "b", answering("a:1"))
		other.start(pool)
		seconds(5)
		if share := n.find("a:1").Limit(); share != 2 {
			t.Errorf("the share is %d", share)
		}
		seconds(15.5) // those that have begun with four slots have ended
		counted.reset()
		all.Wait()
		if peak, total, _ := counted.reset(); peak != 2 || total < 4 {
			t.Errorf("%d in flight at once, after %d more", peak, total)
		}
	})
	lbtest.NoLeaks(t)
}
