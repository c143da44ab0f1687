// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	weakrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// caller is a request of the test.
type caller struct {
	n       int
	pool    *Pool
	options AcquireOptions
	leave   context.CancelFunc
	done    atomic.Bool // it does not wait, and what follows is known
	claim   backend.Permit
	reason  Reason
	since   int // the step in which it came, -1 when it has been counted
}

func (c *caller) holds() bool { return c.done.Load() && c.claim.Slot }

// could reports whether a waiting request might have a slot of b, by the rules of
// the contract, naively.
func (c *caller) could(b *backend.Backend) bool {
	v := c.pool.View()
	if c.options.Only != nil {
		return c.options.Only == b
	}
	if !slices.Contains(c.options.Tried, b) {
		return true
	}
	for _, t := range v.Tiers {
		for _, other := range t.Backends {
			if !slices.Contains(c.options.Tried, other) {
				return false
			}
		}
	}
	return true
}

// In any order of requests that come, wait, leave and are answered, of backends that
// go down and come up, of limits that change and of members that join and leave, in
// two configurations that share the slots: what is taken is what is held, at most
// the limit; nobody waits for what is free; and nobody is handed what one who has
// waited longer could use.
func TestSlotQueueIsFair(t *testing.T) {
	refused, waits := make(map[Reason]int64), int64(0)
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			for _, p := range testSlotQueue(t, weakrand.New(weakrand.NewPCG(seed, 9))) {
				r := p.Totals()
				waits += r.Waits
				for reason, n := range r.Refused {
					refused[reason] += n
				}
			}
		})
	}
	for _, reason := range []Reason{ReasonQueueFull, ReasonQueueTimeout, ReasonGone} {
		if n := refused[reason]; n < 300 || n > waits/2 {
			t.Errorf("%d of %d waits are refused for %s, which tests little", n, waits, reason)
		}
	}
}

// testQueue is how many may wait in a test.
const testQueue = 3

func testSlotQueue(t *testing.T, random *weakrand.Rand) [2]*Pool {
	// At no time at which anything else happens.
	const limits, timeout = 4, 45*time.Millisecond + time.Microsecond
	n := 1 + random.IntN(5)
	var verdicts []*health.Status
	var pools [2]*Pool
	var members [2][]*backend.Backend
	for i := range n {
		verdicts = append(verdicts, health.NewStatus(true))
		s, limit := backend.NewState(), random.IntN(limits)
		for k := range pools {
			id := fmt.Sprint("b", i)
			members[k] = append(members[k], backend.New("p", backend.Endpoint{Address: id, Settings: backend.Settings{ID: id, Weight: new(1), Tier: i % 2, MaxRequests: new(limit)}}, s, verdicts[i:i+1], nil))
		}
	}
	for k := range pools {
		pools[k] = NewPool("p")
		pools[k].SetOptions(Options{Queue: QueueRules{Size: testQueue, Timeout: timeout}})
		pools[k].SetMembers(NewMembers(members[k]))
	}
	var callers []*caller
	held := make(map[*backend.State]int)
	for step := range 300 {
		switch random.IntN(12) {
		case 0, 1, 2, 9, 10, 11: // a request
			c := &caller{n: len(callers), since: step, pool: pools[random.IntN(2)]}
			if len(c.pool.View().Members.All) == 0 {
				break
			}
			all := c.pool.View().Members.All
			switch random.IntN(4) {
			case 0:
				c.options.Only = all[random.IntN(len(all))]
			case 1:
				c.options.Tried = all[:1+random.IntN(len(all))]
			}
			var ctx context.Context
			ctx, c.leave = context.WithCancel(context.Background())
			callers = append(callers, c)
			go func() {
				if c.options.Only == nil && !c.pool.Saturated(0) {
					c.claim = pickAny(c.pool.View(), c.options.Tried)
				}
				if c.claim.Backend == nil {
					c.claim, c.reason = c.pool.Acquire(ctx, c.options)
					c.pool.Refuse(c.reason)
				}
				if c.claim.Backend != nil && !c.claim.Slot { // as the transport does
					c.claim.Slot = c.claim.Backend.Take()
				}
				c.done.Store(true)
			}()
		case 3, 4, 5: // an answer
			if c := some(random, callers, (*caller).holds); c != nil {
				held[c.claim.Backend.State]--
				c.claim.Release()
				c.claim = backend.Permit{}
			}
		case 6:
			if c := some(random, callers, func(c *caller) bool { return !c.done.Load() }); c != nil {
				c.leave()
			}
		case 7: // an agent's word
			i, limit, up := random.IntN(n), random.IntN(limits), random.IntN(4) > 0
			verdicts[i].ApplyInstruction(health.Instruction{MaxRequests: &limit, Up: &up})
			for _, p := range pools {
				p.Publish()
			}
		case 8:
			k := random.IntN(2)
			left := slices.DeleteFunc(slices.Clone(members[k]), func(*backend.Backend) bool { return random.IntN(4) == 0 })
			pools[k].SetMembers(NewMembers(left))
		}
		synctest.Wait()
		checkDesks(t, pools, callers, held, step)
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
	}
	for _, c := range callers {
		c.leave()
	}
	synctest.Wait()
	for _, c := range callers {
		c.claim.Release()
	}
	for k, p := range pools {
		p.Deactivate()
		for _, b := range members[k] {
			if b.Taken() != 0 || b.Watchers() != nil {
				t.Errorf("in the end %s has %d taken, and is watched: %v", b.ID, b.Taken(), b.Watchers() != nil)
			}
		}
		if p.Saturated(0) || p.main.queue.watching.Load() || p.Totals().Waiting != 0 || len(p.main.queue.triedBy)+len(p.main.queue.bound) != 0 {
			t.Error("in the end the queue is open")
		}
	}
	return pools
}

// pickAny is what a policy does.
func pickAny(v *View, tried []*backend.Backend) backend.Permit {
	for _, tried := range [][]*backend.Backend{tried, nil} {
		for _, tier := range v.Tiers {
			for _, b := range tier.Backends {
				if v.Usable(b) && !slices.Contains(tried, b) {
					if c, ok := v.Reserve(b); ok {
						return c
					}
				}
			}
		}
	}
	return backend.Permit{}
}

// some returns one of the callers that are as wanted, or nil.
func some(random *weakrand.Rand, callers []*caller, wanted func(*caller) bool) *caller {
	callers = slices.DeleteFunc(slices.Clone(callers), func(c *caller) bool { return !wanted(c) })
	if len(callers) == 0 {
		return nil
	}
	return callers[random.IntN(len(callers))]
}

// checkDesks checks what must hold when all is quiet.
func checkDesks(t *testing.T, pools [2]*Pool, callers []*caller, held map[*backend.State]int, step int) {
	waiting := make(map[*Pool]int)
	for _, c := range callers {
		if !c.done.Load() {
			waiting[c.pool]++
		}
	}
	for _, c := range callers {
		if c.holds() && c.since >= 0 {
			held[c.claim.Backend.State]++
			for _, older := range callers[:c.n] {
				if !older.done.Load() && older.pool == c.pool && older.could(c.claim.Backend) {
					t.Errorf("step %d: %d got a slot that %d, who waits longer, could use", step, c.n, older.n)
				}
			}
			c.since = -1 // counted
		}
		if c.done.Load() && c.since == step && (c.reason == ReasonQueueFull && waiting[c.pool] != testQueue || c.reason == ReasonFull && c.options.Only == nil) {
			t.Errorf("step %d: %d is refused for %s with %d waiting", step, c.n, c.reason, waiting[c.pool])
		}
	}
	for _, p := range pools {
		if got := p.Totals().Waiting; got != waiting[p] {
			t.Errorf("step %d: %d wait, and are counted as %d", step, waiting[p], got)
		}
		v := p.View()
		for _, tier := range v.Tiers {
			for _, b := range tier.Backends {
				if b.Taken() != held[b.State] {
					t.Errorf("step %d: %s has %d taken, and %d are held", step, b.ID, b.Taken(), held[b.State])
				}
				for _, c := range callers {
					if !c.done.Load() && c.pool == p && v.Usable(b) && c.could(b) {
						t.Errorf("step %d: %d waits though %s is free", step, c.n, b.ID)
					}
				}
			}
		}
	}
}
