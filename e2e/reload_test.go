// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestReload reloads again and again under load, with one backend down: no
// request may fail, and the backend must stay down until it is back.
func TestReload(t *testing.T) {
	r := newReloadTest(t)
	for i := range 30 {
		next := time.Now().Add(200 * time.Millisecond)
		if err := r.caddy.load("", r.site(i)); err != nil {
			t.Fatal(err)
		}
		r.stillDown()
		<-time.After(time.Until(next)) // the pace of the reloads, not a wait
	}
	r.finish()
}

// TestRejectedReload has reloads rejected at three stages: nothing may change.
func TestRejectedReload(t *testing.T) {
	r := newReloadTest(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := func(pool string) string {
		return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool %s\n}\n}\n", freePort(t), pool)
	}
	for _, test := range []struct {
		name, more, want string
	}{
		{"not understood", bad("other {\nto 127.0.0.1:1 127.0.0.1:1\n}"), "twice"},
		{"not provisioned", bad("missing"), "missing"},
		{"not provisioned, after another pool", bad("a {\nto 127.0.0.1:1\n}") + bad("missing"), "missing"},
		{"not started", fmt.Sprintf("http://127.0.0.1:%d {\nbind 127.0.0.1\n}\n", taken.Addr().(*net.TCPAddr).Port), "address already in use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Caddy starts apps in random order: often enough for each order.
			for i := range 6 {
				err := r.caddy.load("", r.site(i)+"\n"+test.more)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want it to contain %q", err, test.want)
				}
				r.stillDown()
			}
			noTraffic(r.caddy, r.load, r.down.address)
		})
	}
	r.finish()
}

// reloadTest is a Caddy under load with one of three backends down.
type reloadTest struct {
	*testing.T
	port     int
	backends []*backend
	down     *backend
	caddy    *caddyProcess
	load     *load
	tried    float64 // requests sent to the backend that is down
}

func newReloadTest(t *testing.T) *reloadTest {
	r := &reloadTest{T: t, port: freePort(t), backends: startBackends(t, 3)}
	r.down = r.backends[0]
	r.caddy = startCaddy(t, "", r.site(-1))
	r.load = startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", r.port), loadRate, 5)
	eventually(t, "all backends answer", func() bool { return len(r.load.counts()) == 3 })
	r.down.kill()
	eventually(t, "the backend is down", func() bool { return r.caddy.downs(r.down.address) == 1 })
	r.load.more(100)
	r.tried = r.caddy.metric("requests_total")[r.down.address]
	return r
}

// site is the configuration; no two with different n are the same.
func (r *reloadTest) site(n int) string {
	return webSite(r.port, r.backends, fmt.Sprintf("header X-Version %d", n))
}

// stillDown checks that the backend is down and has not been tried since.
func (r *reloadTest) stillDown() {
	r.Helper()
	up, tried := r.caddy.metric("up"), r.caddy.metric("requests_total")
	if v, ok := up[r.down.address]; !ok || v != 0 || len(up) != 3 {
		r.Fatalf("up is %v; backend %s is down", up, r.down.address)
	}
	if tried[r.down.address] != r.tried {
		r.Fatalf("%v requests were sent to a backend that is down", tried[r.down.address]-r.tried)
	}
}

// finish brings the backend back, which only probes that still run can notice.
func (r *reloadTest) finish() {
	r.Helper()
	noTraffic(r.caddy, r.load, r.down.address)
	r.down.start()
	eventually(r, "the backend is up", func() bool { return r.caddy.ups(r.down.address) == 1 })
	before := r.load.counts()[r.down.address]
	eventually(r, "the backend has traffic again", func() bool { return r.load.counts()[r.down.address] > before+50 })
	r.load.stop()
	r.load.mustNotFail()
	if d, u := r.caddy.log.count("backend is down", nil), r.caddy.log.count("backend is up", nil); d != 1 || u != 1 {
		r.Errorf("the log says %d times down and %d times up, want 1", d, u)
	}
	r.caddy.quiet()
}

// TestReloadShortensIntervals has a reload replace an hour between two probes,
// and two lookups, by a moment: nobody waits for the hour to end.
func TestReloadShortensIntervals(t *testing.T) {
	server := startDNS(t, "app.test. 0 IN A 127.0.0.1")
	b := startScripted(t, freeAddress(t), nil)
	_, backendPort, _ := net.SplitHostPort(b.address)
	port := freePort(t)
	site := func(every string) string {
		return poolSite(port, fmt.Sprintf("from a app.test %s {\nresolvers %s\nversions ipv4\n}\nrefresh %s\nhealth http /health {\ninterval %[3]s\n}",
			backendPort, server.address, every), "")
	}
	c := startCaddy(t, "", site("1h"))
	eventually(t, "the backend is probed", func() bool { return b.probes.Load() == 1 })
	if err := c.load("", site("100ms")); err != nil {
		t.Fatal(err)
	}
	asked := server.queries()
	eventually(t, "DNS is asked again and again", func() bool { return server.queries() >= asked+3 })
	eventually(t, "the backend is probed again and again", func() bool { return b.probes.Load() >= 3 })
}
