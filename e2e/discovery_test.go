// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// discoverySite is a site whose pool has all its backends from DNS.
func discoverySite(port int, from string) string {
	return fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool found {
					from %s
					refresh 200ms
					health http /health {
						interval 200ms
						fails 2
					}
				}
				lb_policy wrr
				lb_retries 3
			}
		}`, port, from)
}

// member reports whether exactly the given backends are in the pool.
func (c *caddyProcess) members(ids ...string) bool {
	return slices.Equal(slices.Sorted(maps.Keys(c.metric("up"))), slices.Sorted(slices.Values(ids)))
}

// TestDiscoverA has backends appear and leave by A records, be probed, and stay
// while DNS does not answer.
func TestDiscoverA(t *testing.T) {
	backendPort := freePort(t)
	at := func(host string) string { return fmt.Sprintf("%s:%d", host, backendPort) }
	if l, err := net.Listen("tcp", at("127.0.0.2")); err != nil {
		t.Skip("this system has 127.0.0.1 alone:", err)
	} else {
		l.Close()
	}
	one, two := startBackend(t, at("127.0.0.1")), startBackend(t, at("127.0.0.2"))
	record := func(ip string) string { return "app.test. 0 IN A " + ip }
	server := startDNS(t, record("127.0.0.1"))
	port := freePort(t)
	c := startCaddy(t, "", discoverySite(port, fmt.Sprintf("a app.test %d {\nresolvers %s\nversions ipv4\n}", backendPort, server.address)))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 100, 0)

	eventually(t, "the backend is there", func() bool { return c.members(one.address) })
	server.set(dns.RcodeSuccess, record("127.0.0.1"), record("127.0.0.2"))
	eventually(t, "the second has traffic", func() bool { return c.members(one.address, two.address) && l.counts()[two.address] > 0 })
	two.setHealth(http.StatusServiceUnavailable)
	eventually(t, "what was discovered is probed", func() bool { return c.metric("up")[two.address] == 0 })
	two.setHealth(http.StatusOK)
	eventually(t, "the second is up", func() bool { return c.metric("up")[two.address] == 1 })
	server.set(dns.RcodeSuccess, record("127.0.0.2"))
	eventually(t, "the first has left", func() bool { return c.members(two.address) })

	// No server, then one that fails: one line in the log for both.
	failing := func() int { return c.log.count("discovery failed; keeping the last known backends", nil) }
	server.stop()
	eventually(t, "the log says that discovery fails", func() bool { return failing() > 0 })
	l.more(50)
	server.set(dns.RcodeServerFailure)
	server.start()
	asked := server.queries()
	eventually(t, "the server is asked again and again", func() bool { return server.queries() >= asked+8 })
	l.more(50)
	if !c.members(two.address) || failing() != 1 {
		t.Errorf("the backends are %v, want %s; the log says %d times that discovery fails, want 1", c.metric("up"), two.address, failing())
	}

	server.set(dns.RcodeSuccess, record("127.0.0.1"), record("127.0.0.2"))
	eventually(t, "discovery goes on", func() bool { return c.members(one.address, two.address) })
	if n := c.log.count("discovery works again", nil); n != 1 {
		t.Errorf("the log says %d times that discovery works again, want 1", n)
	}
	l.stop()
	l.mustNotFail()
}

// TestDiscoverSRV has SRV records give backends their tier and weight.
func TestDiscoverSRV(t *testing.T) {
	backends := startBackends(t, 3)
	heavy, light, spare := backends[0], backends[1], backends[2]
	id := func(b *backend) string { return strings.Replace(b.address, "127.0.0.1", "localhost", 1) }
	record := func(priority, weight int, b *backend) string {
		return fmt.Sprintf("_web._tcp.app.test. 0 IN SRV %d %d %s localhost.", priority, weight, b.address[strings.LastIndexByte(b.address, ':')+1:])
	}
	server := startDNS(t, record(10, 30, heavy), record(10, 10, light), record(20, 7, spare))
	port := freePort(t)
	c := startCaddy(t, "", discoverySite(port, fmt.Sprintf("srv {\nservice web\nproto tcp\nname app.test\nresolvers %s\n}", server.address)))
	eventually(t, "the backends are there", func() bool { return c.members(id(heavy), id(light), id(spare)) })
	if w := c.metric("weight"); w[id(heavy)] != 30 || w[id(light)] != 10 || w[id(spare)] != 7 {
		t.Errorf("weights are %v", w)
	}

	before := c.metric("requests_total")
	for range 40 {
		if status, body := get(t, port); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	after := c.metric("requests_total")
	for b, want := range map[*backend]float64{heavy: 30, light: 10, spare: 0} {
		if got := after[id(b)] - before[id(b)]; got != want {
			t.Errorf("%s took %v requests of 40, want %v", id(b), got, want)
		}
	}

	// A record that changes is a backend that changes.
	server.set(dns.RcodeSuccess, record(10, 0, heavy), record(10, 10, light), record(20, 7, spare))
	eventually(t, "the weight changes", func() bool { return c.metric("weight")[id(heavy)] == 0 })
	light.kill()
	eventually(t, "the next tier serves", func() bool {
		status, body := get(t, port)
		return c.metric("up")[id(light)] == 0 && status == http.StatusOK && body == spare.address
	})
}
