// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// loadRate is the rate of the load that backends are lost under.
const loadRate = 500 // a second

// webSite is a site on a port with a pool that probes each second and takes a
// backend out at the first failure. The timeout of the probes is longer than
// that of requests, so that a busy machine fails no healthy backend. Ejections
// are short, so that the probes tell when a backend is back.
func webSite(port int, all []*backend, more string) string {
	return fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			%s
			reverse_proxy {
				dynamic pool web {
					to %s
					health http /health {
						interval 1s
						timeout 2s
						fails 1
						passes 2
					}
					health tcp {
						interval 1s
						timeout 2s
						fails 1
						passes 2
					}
					outliers {
						eject_for 1s
					}
				}
				lb_policy wrr
				lb_retries 3
				transport http {
					response_header_timeout 1s
				}
			}
		}`, port, more, addresses(all))
}

// TestBackendLost loses one of three backends under load and gets it back, in
// three ways. No request may fail.
func TestBackendLost(t *testing.T) {
	for _, test := range []struct {
		name          string
		lose, restore func(*backend)
	}{
		{"killed", (*backend).kill, (*backend).start},
		{"hanging", (*backend).hang, (*backend).resume},
		{"unhealthy",
			func(b *backend) { b.setHealth(http.StatusServiceUnavailable) },
			func(b *backend) { b.setHealth(http.StatusOK) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			backends := startBackends(t, 3)
			port := freePort(t)
			c := startCaddy(t, "", webSite(port, backends, ""))
			l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), loadRate, 0)
			victim := backends[1]
			eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })

			test.lose(victim)
			eventually(t, "the backend is down", func() bool { return c.downs(victim.address) == 1 })
			noTraffic(c, l, victim.address)
			if up := c.metric("up"); up[victim.address] != 0 {
				t.Errorf("up is %v of a backend that is down", up)
			}

			test.restore(victim)
			eventually(t, "the backend is up", func() bool { return c.ups(victim.address) == 1 })
			before := l.counts()[victim.address]
			eventually(t, "the backend has traffic again", func() bool { return l.counts()[victim.address] > before+50 })

			l.stop()
			l.mustNotFail()
			for _, b := range backends {
				want := 0
				if b == victim {
					want = 1
				}
				if c.downs(b.address) != want || c.ups(b.address) != want {
					t.Errorf("backend %s: the log says %d times down and %d times up, want %d", b.address, c.downs(b.address), c.ups(b.address), want)
				}
			}
			if n := c.metric("transitions_total")[victim.address]; n != 2 {
				t.Errorf("%v transitions are counted, want 2", n)
			}
		})
	}
}

// noTraffic checks that a backend that is out is not even tried. Requests that
// had chosen it before may still be on their way at first.
func noTraffic(c *caddyProcess, l *load, id string) {
	c.t.Helper()
	l.more(100)
	before := c.metric("requests_total")[id]
	l.more(300)
	if after := c.metric("requests_total")[id]; after != before {
		c.t.Errorf("%v requests were sent to %s, which takes none", after-before, id)
	}
}

// lostOver waits until nobody waits for a backend any more that is out, and
// returns how many requests were lost by then.
func lostOver(c *caddyProcess, l *load, id string) int {
	c.t.Helper()
	eventually(c.t, "nobody waits for it any more", func() bool { return c.metric("requests_in_flight")[id] == 0 })
	l.more(100) // the clients have to notice
	return l.lost()
}
