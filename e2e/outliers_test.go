// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// retried503 has Caddy retry a 503, and what it retries without being told.
const retried503 = "lb_retries 1\nlb_retry_match {\nexpression `{rp.status_code} == 503`\n}\nlb_retry_match {\nmethod GET\n}"

// TestOutliers has one of three backends without health checks go bad, each time
// in another way: it is ejected, and the others serve all.
func TestOutliers(t *testing.T) {
	const rate = 300
	for _, test := range []struct {
		name    string
		pool    string
		proxy   string
		bad     func(*scripted)
		allowed int
	}{
		{
			// Never 5 errors in a row: the ratio alone can tell.
			name: "503s",
			pool: "outliers {\nerror_ratio 20%\nmin_requests 20\ninterval 1s\n}", proxy: retried503,
			bad: func(b *scripted) { b.serves(b.sometimes) },
		},
		{name: "refused", proxy: "lb_retries 1", bad: (*scripted).stop},
		{name: "reset in the header", proxy: "lb_retries 1", bad: func(b *scripted) { b.serves(reset) }},
		{
			// What has begun cannot be retried: a third of the requests is lost until
			// the first have timed out after 1s. Three times as many are allowed.
			name: "no body", proxy: "lb_retries 1\ntransport http {\nread_timeout 1s\n}",
			bad: func(b *scripted) { b.serves(headerAlone) }, allowed: rate,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			backends, to := startThree(t)
			port := freePort(t)
			c := startCaddy(t, "", poolSite(port, "to"+to+"\n"+test.pool, test.proxy))
			l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), rate, 0)
			eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
			victim := backends[1]
			test.bad(victim)
			eventually(t, "the backend is ejected", func() bool { return c.metric("ejected")[victim.address] == 1 })
			lost := lostOver(c, l, victim.address)
			noTraffic(c, l, victim.address)
			l.stop()
			t.Logf("%d requests were lost, for the reason %q", l.lost(), c.reason(victim.address, "backend_ejected"))
			if l.lost() != lost || lost > test.allowed {
				t.Errorf("%d requests were lost until the backend was ejected, and %d in all, want at most %d: %q", lost, l.lost(), test.allowed, l.errors)
			}
			c.expectHistory(victim.address, "backend_ejected")
			c.expectHistory(backends[0].address)
			c.expectHistory(backends[2].address)
		})
	}
}

// TestOutlierReturns has trials fail while a backend is gone, and one succeed
// when it is back.
func TestOutlierReturns(t *testing.T) {
	backends, to := startThree(t)
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port, "to"+to+"\n"+brief, "lb_retries 1"))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	victim := backends[1]
	victim.stop()
	eventually(t, "the backend is ejected", func() bool { return c.metric("ejections_total")[victim.address] == 1 })
	l.more(10) // those that had chosen it
	tried := c.metric("requests_total")[victim.address]
	eventually(t, "its trial has failed", func() bool { return c.metric("ejections_total")[victim.address] == 2 })
	if n := c.metric("requests_total")[victim.address] - tried; n > 1 {
		t.Errorf("%v requests were sent to a backend on trial, want 1", n)
	}
	victim.start()
	before := l.counts()[victim.address]
	eventually(t, "the backend has traffic again", func() bool { return l.counts()[victim.address] > before+30 })
	l.stop()
	l.mustNotFail()
	h := c.history(victim.address)
	if n := len(h); n < 3 || h[n-1] != "backend_returned" || slices.Index(h, "backend_returned") != n-1 {
		t.Errorf("the history is %v, want ejections and then a return", h)
	}
	if status, _ := get(t, port); status != http.StatusOK {
		t.Errorf("got status %d", status)
	}
}

// TestProbesEndEjection ejects a backend for longer than the test lasts, once as one that its check finds
// down, too, and once before it does. In virtual time, no time passes while the end is decided on.
func TestProbesEndEjection(t *testing.T) {
	for name, fails := range map[string]string{"down": "fails 2", "up": "fails 100"} {
		t.Run(name, func(t *testing.T) {
			backends, to := startThree(t)
			port := freePort(t)
			c := startCaddy(t, "", poolSite(port, "to"+to+"\noutliers {\neject_for 5m\n}\n"+check("http /health", fails+"\npasses 2"), "lb_retries 1"))
			l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
			eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
			victim := backends[1]
			victim.stop()
			eventually(t, "the backend is ejected", func() bool { return c.metric("ejections_total")[victim.address] == 1 })
			if name == "down" {
				eventually(t, "the backend is down", func() bool { return c.downs(victim.address) == 1 })
			}
			victim.start()
			before := l.counts()[victim.address]
			eventually(t, "the backend has traffic again", func() bool { return l.counts()[victim.address] > before+30 })
			l.stop()
			l.mustNotFail()
		})
	}
}
