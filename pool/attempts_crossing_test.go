// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// attemptSeeds are the numbers of the schedules. Each of them has found a fault; others were run by hand.
var attemptSeeds = []uint64{0, 8, 11, 54, 113}

// Whatever `hedge`, `retry`, `mirror`, `on_down close`, limits and policies make of an attempt, while clients leave,
// backends go down and configurations change: nothing stays in flight, each backend serves again once all is well, and
// attempts that were only given up or closed are no errors.
func TestAttemptCrossings(t *testing.T) {
	for _, seed := range attemptSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newAttemptCrossing(t, seed).run() })
			lbtest.NoLeaks(t)
		})
	}
}

// attemptCrossing is one schedule.
type attemptCrossing struct {
	*testing.T
	world    *world
	backends lbtest.Backends
	config   string
	good     bool        // backends may be late, and make no errors
	well     atomic.Bool // all is well
	clients  sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
}

func newAttemptCrossing(t *testing.T, seed uint64) *attemptCrossing {
	c := &attemptCrossing{T: t, world: newWorld(t), random: rand.New(rand.NewPCG(seed, 7))}
	c.good = c.drawn(2) == 0
	c.backends = lbtest.Backends{"a:1": c.answer, "b:1": c.answer, "c:1": c.answer, "m:1": c.answer}
	pool := `"outliers":{"consecutive_errors":3,"eject_for":"300ms","max_eject_for":"1s"}`
	if c.good {
		pool = `"outliers":{"consecutive_errors":1,"stall":0}`
	}
	for _, option := range []string{
		fmt.Sprintf(`"hedge":{"quantile":0.5,"max":1,"min":"%dms"}`, 1+c.drawn(20)),
		`"retry":{"tries":2,"on":["503","reset","timeout","connect"],"timeout":"300ms","backoff":"5ms"}`,
		`"on_down":"close"`,
		fmt.Sprintf(`"max_requests":%d,"queue":{"size":20,"timeout":"200ms"}`, 2+c.drawn(6)),
		`"mirror":{"ratio":1,"to":["m:1"]}`,
		`"slow_start":{"window":"2s"}`,
		`"retry_budget":{"ratio":0.2,"min":3}`,
	} {
		if c.drawn(3) > 0 {
			pool += "," + option
		}
	}
	policies := append(lbtest.PolicyConfigs(), `{"policy":"round_robin"}`, `{"policy":"least_conn"}`, `{"policy":"sticky","header":"X-S"}`)
	c.config = fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":%d,"selection_policy":%s},"dynamic_upstreams":{"source":"pool","name":"web","guard":false,%s}}`,
		c.drawn(2), policies[c.drawn(len(policies))], dials("a:1", "b:1", "c:1")+","+check(t, `,"passes":1`)+","+pool)
	return c
}

// drawn returns a random number below n.
func (c *attemptCrossing) drawn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// answer is the Answerer of all backends.
func (c *attemptCrossing) answer(req *http.Request) (int, error) {
	if c.well.Load() {
		return lbtest.Latency(fast)(req)
	}
	d := time.Duration(c.drawn(40)) * ms
	if c.drawn(20) == 0 {
		d = 150 * ms
	}
	kinds := []lbtest.Answerer{status(200), status(200), lbtest.LateBody(d + ms)}
	if !c.good {
		kinds = append(kinds, status(503), lateError(503, d+ms), broken, lbtest.Refused, func(*http.Request) (int, error) { return 0, syscall.EPIPE }, hang)
	}
	return lateBy(d, kinds[c.drawn(len(kinds))])(req)
}

func (c *attemptCrossing) load() *lbtest.Proxy {
	p, err := lbtest.Load(c, nil, c.config, c.backends)
	if err != nil {
		c.Fatal(err, c.config)
	}
	return p
}

// send sends a request whose client leaves after patience.
func (c *attemptCrossing) send(p *lbtest.Proxy, patience time.Duration) {
	key := fmt.Sprint(c.drawn(30))
	if c.well.Load() {
		key = fmt.Sprint(c.drawn(1e9)) // only a request without a session is a trial
	}
	c.clients.Go(func() {
		defer func() { _ = recover() }() // Caddy aborts responses
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		req := newRequest().WithContext(ctx)
		req.Header.Set("X-S", key)
		req.URL.Path = "/" + key
		p.Serve(req)
	})
}

// happens lets something happen now and then, and returns the proxy of the current configuration.
func (c *attemptCrossing) happens(p *lbtest.Proxy) *lbtest.Proxy {
	switch c.drawn(150) {
	case 0:
		alter(c.T, "a:1", admin(health.Maint))
	case 1, 2:
		alter(c.T, "a:1", admin(health.Ready))
	case 3:
		next := c.load()
		p.Close()
		return next
	case 4:
		if _, err := lbtest.LoadAll(c, nil, c.backends, c.config, `{"transport":{"protocol":"nonesuch"}}`); err == nil {
			c.Fatal("not rejected")
		}
	case 5:
		c.world.set(func() { c.world.sick["b:1"] = true })
	case 6, 7:
		c.world.set(func() { delete(c.world.sick, "b:1") })
	}
	return p
}

func (c *attemptCrossing) run() {
	p := c.load()
	seconds(0.1)
	for began := time.Now(); time.Since(began) < 6*time.Second; time.Sleep(time.Duration(c.drawn(15)) * ms) {
		c.send(p, time.Duration(1+c.drawn(400))*ms)
		p = c.happens(p)
	}
	c.clients.Wait()
	members := pool.Current("web").View().Members.All
	for _, b := range members {
		if _, bad := b.Outcomes(); c.good && (bad != 0 || b.Ejections() != 0) {
			c.Errorf("%s has %d errors and %d ejections: %v\n%s", b.ID, bad, b.Ejections(), b.Totals().Failures, c.config)
		}
	}
	c.well.Store(true)
	c.world.set(func() { clear(c.world.sick) })
	alter(c.T, "a:1", admin(health.Ready))
	for range 400 {
		c.send(p, time.Minute)
		time.Sleep(10 * ms)
	}
	c.clients.Wait()
	seconds(2)
	for _, b := range members {
		if b.Taken() != 0 || b.Totals().InFlight != 0 || b.EjectionState() != outlier.Healthy {
			c.Errorf("%s has %d slots taken and %d in flight, and is %v\n%s", b.ID, b.Taken(), b.Totals().InFlight, b.EjectionState(), c.config)
		}
	}
	if n := pool.Current("web").InFlight(); n != 0 {
		c.Errorf("%d in flight\n%s", n, c.config)
	}
	p.Close()
}
