// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// hashing are the hash policies, with a key that all requests share.
func hashing(more string) (policies []string) {
	for _, name := range lbtest.Policies(lbtest.ByKey) {
		policies = append(policies, fmt.Sprintf(`{"policy":%q,"key":"host"%s}`, name, more))
	}
	return policies
}

// A key spills from its full backend at once, unless it is to wait: then it stays while
// the queue has room, and spills when it has none.
func TestHashOnFull(t *testing.T) {
	for _, policy := range hashing("") {
		synctest.Test(t, func(t *testing.T) {
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":2},`+dials("a:1", "b:1"))
			l := newLine()
			first, second := l.send(p, 100*ms, 0), l.send(p, 100*ms, 0)
			l.wg.Wait()
			if second.came != 0 || second.backend == first.backend {
				t.Errorf("%s: the second came to %s after %v, the first to %s", policy, second.backend, second.came, first.backend)
			}
		})
	}
	for _, policy := range hashing(`,"on_full":"wait"`) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":2},`+dials("a:1", "b:1"))
			l := newLine()
			for range 5 {
				l.send(p, 100*ms, 0)
			}
			l.wg.Wait()
			for i, came := range []time.Duration{0, 100 * ms, 200 * ms, 0} {
				if a := l.all[i]; a.came != came || (a.backend == l.all[0].backend) != (i < 3) {
					t.Errorf("%s: request %d came to %s after %v, want %v, and the key's backend for the first three: %s", policy, i, a.backend, a.came, came, l.all[0].backend)
				}
			}
			// The queue has no room for the fifth, and nobody has a free slot.
			if a := l.all[4]; a.status != 503 || a.reason != pool.ReasonQueueFull {
				t.Errorf("%s: the fifth: %d %s", policy, a.status, a.reason)
			}
			expectNothingTaken(t, "web")
		})
	}
}

// Who waits for the backend of its key waits no longer than the queue has it, also if
// another is idle; and goes to another when that backend goes down.
func TestHashOnFullWaits(t *testing.T) {
	for _, policy := range hashing(`,"on_full":"wait"`) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":2,"timeout":"1s"},`+dials("a:1", "b:1"))
			l := newLine()
			l.send(p, 3*time.Second, 0)
			second := l.send(p, 0, 0)
			l.wg.Wait()
			if second.status != 503 || second.reason != pool.ReasonQueueTimeout || second.ended != time.Second {
				t.Errorf("%s: the second: %d %s after %v", policy, second.status, second.reason, second.ended)
			}
			expectNothingTaken(t, "web")
		})
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p, _ := loadCapped(t, policy, 1, `"queue":{"size":2,"timeout":"1m"},`+check(t, "")+","+dials("a:1", "b:1"))
			l := newLine()
			home := l.send(p, 0, 0)
			l.wg.Wait()
			first, second := l.send(p, 10*time.Second, 0), l.send(p, 0, 0)
			time.Sleep(500 * ms)
			if l.hasCome(second) {
				t.Errorf("%s: the second did not wait", policy)
			}
			w.set(func() { w.sick[home.backend] = true })
			l.wg.Wait()
			if second.status != 200 || second.backend == first.backend || second.ended > 2*time.Second {
				t.Errorf("%s: the second: %d from %s after %v, and the first from %s", policy, second.status, second.backend, second.ended, first.backend)
			}
			expectNothingTaken(t, "web")
		})
	}
}
