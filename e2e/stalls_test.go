// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// allowed bounds what a hung backend may cost, out of 500 requests a second
// over three backends. It has 167 of them in the second after which it is to be
// ejected, and 9 more before that is looked for; 200 are promised. What is above
// that is for a machine that is busy with other things.
const allowed = 300

// TestStall has one of three backends hang, though its /health answers, under
// 500 requests a second: without any help but the client's own patience, and
// with a timeout and one retry.
func TestStall(t *testing.T) {
	for _, test := range []struct {
		name, proxy string
		load        func(testing.TB, string, int) *load
		allowed     int
	}{
		{"no retries", "", startImpatientLoad, allowed},
		// The client is patient here: it is not what is tested.
		{"a timeout and a retry", "lb_retries 1\ntransport http {\nresponse_header_timeout 1s\n}",
			func(t testing.TB, url string, perSecond int) *load { return startLoad(t, url, perSecond, 0) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			backends, to := startThree(t)
			port := freePort(t)
			c := startCaddy(t, "", poolSite(port, "to"+to+"\n"+check("http /health", twice), test.proxy))
			l := test.load(t, fmt.Sprintf("http://127.0.0.1:%d/", port), loadRate)
			l.more(loadRate) // which shows that answers are quick

			victim := backends[1]
			victim.serves(never)
			eventually(t, "the backend is ejected", func() bool { return c.metric("ejected")[victim.address] == 1 })
			lost := lostOver(c, l, victim.address)
			noTraffic(c, l, victim.address)
			l.more(loadRate)
			l.stop()
			t.Logf("%d requests were lost, for the reason %q", l.lost(), c.reason(victim.address, "backend_ejected"))
			if l.lost() != lost || lost > test.allowed {
				t.Errorf("%d requests were lost until the backend was ejected, and %d in all, want at most %d", lost, l.lost(), test.allowed)
			}
			c.expectHistory(victim.address, "backend_ejected")
			c.expectHistory(backends[0].address)
			c.expectHistory(backends[2].address)
		})
	}
}

// TestLongPolls has quick requests become ones that each backend holds for
// seconds, many times as long as a stall: nobody is ejected.
func TestLongPolls(t *testing.T) {
	backends, to := startThree(t)
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port, "to"+to+"\n"+check("http /health", twice), ""))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
	l.more(200)
	for _, b := range backends {
		b.serves(b.later(3 * time.Second))
	}
	eventually(t, "400 requests are held", func() bool {
		held := 0.0
		for _, n := range c.metric("requests_in_flight") {
			held += n
		}
		return held >= 400
	})
	l.more(200)
	l.stop()
	l.mustNotFail()
	for _, b := range backends {
		c.expectHistory(b.address)
	}
	if text := c.log.String(); strings.Contains(text, "eject") {
		t.Error("the log tells of ejections")
	}
}
