// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestGuard has the probes of all backends begin to time out at once while their
// traffic succeeds, as in an overload: nobody is taken out. When the backends
// then really die, the guard does not hide it.
func TestGuard(t *testing.T) {
	backends, to := startThree(t)
	port := freePort(t)
	// With two fails the first could be down before the others have failed at all: they
	// are probed within an interval, and time out.
	c := startCaddy(t, "", poolSite(port, "to"+to+"\nhealth http /health {\ninterval 500ms\ntimeout 500ms\nfails 3\npasses 2\n}\n"+brief, "lb_retries 2"))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	held := func(want float64) func() bool {
		return func() bool {
			n := 0.0
			for _, one := range c.metric("held") {
				n += one
			}
			return n == want
		}
	}
	for _, b := range backends {
		b.probed(never)
	}
	eventually(t, "all backends are held", held(3))
	l.more(600) // several intervals
	l.mustNotFail()
	c.expectHistory("", "pool_guard_on")
	for _, b := range backends {
		c.expectHistory(b.address)
	}

	for _, b := range backends {
		b.stop()
	}
	for _, b := range backends {
		eventually(t, "the backend is down", func() bool { return c.downs(b.address) == 1 })
	}
	if l.lost() == 0 {
		t.Error("no request has failed, of backends that are gone")
	}
	eventually(t, "there is nobody left", func() bool {
		status, _ := get(t, port)
		return status == http.StatusServiceUnavailable && c.metric("up")[backends[0].address] == 0
	})
	eventually(t, "nobody is held", held(0))
	c.expectHistory("", "pool_guard_on", "pool_guard_off")

	for _, b := range backends {
		b.probed(answer(http.StatusOK))
		b.start()
	}
	served := l.counts()
	eventually(t, "all backends have traffic again", func() bool {
		for _, b := range backends {
			if l.counts()[b.address] < served[b.address]+30 {
				return false
			}
		}
		return true
	})
	l.stop()
	c.expectHistory("", "pool_guard_on", "pool_guard_off")
}
