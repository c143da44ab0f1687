// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestHealthDiscovered has backends appear in DNS, which are probed from then on,
// also while DNS is lost, until they leave.
func TestHealthDiscovered(t *testing.T) {
	t.Run("a", func(t *testing.T) {
		backendPort := freePort(t)
		at := func(host string) string { return fmt.Sprintf("%s:%d", host, backendPort) }
		if l, err := net.Listen("tcp", at("127.0.0.2")); err != nil {
			t.Skip("this system has 127.0.0.1 alone:", err)
		} else {
			l.Close()
		}
		host := func(b *scripted) string { h, _, _ := net.SplitHostPort(b.address); return h }
		testDiscovered(t, discovered{
			one: startScripted(t, at("127.0.0.1"), nil), two: startScripted(t, at("127.0.0.2"), nil),
			from: func(resolver string) string {
				return fmt.Sprintf("a app.test %d {\nresolvers %s\nversions ipv4\n}", backendPort, resolver)
			},
			record: func(b *scripted) string { return "app.test. 0 IN A " + host(b) },
			id:     func(b *scripted) string { return b.address },
		})
	})
	t.Run("srv", func(t *testing.T) {
		testDiscovered(t, discovered{
			one: startScripted(t, freeAddress(t), nil), two: startScripted(t, freeAddress(t), nil),
			from: func(resolver string) string {
				return fmt.Sprintf("srv _web._tcp.app.test {\nresolvers %s\n}", resolver)
			},
			record: func(b *scripted) string {
				return "_web._tcp.app.test. 0 IN SRV 1 1 " + strings.TrimPrefix(b.address, "127.0.0.1:") + " localhost."
			},
			id: func(b *scripted) string { return strings.Replace(b.address, "127.0.0.1", "localhost", 1) },
		})
	})
}

type discovered struct {
	one, two *scripted
	from     func(resolver string) string
	record   func(*scripted) string
	id       func(*scripted) string
}

func testDiscovered(t *testing.T, d discovered) {
	one, two := d.id(d.one), d.id(d.two)
	server := startDNS(t, d.record(d.one))
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port, "from "+d.from(server.address)+"\nrefresh 200ms\n"+
		"health http /health {\ninterval 100ms\ntimeout 5s\n"+twice+"}", "lb_retries 1"))
	probed := func(b *scripted) {
		t.Helper()
		before := b.probes.Load()
		eventually(t, "it is probed", func() bool { return b.probes.Load() >= before+2 })
	}
	// No request asks for any of this.
	eventually(t, "the backend is there", func() bool { return c.members(one) })
	probed(d.one)
	server.set(dns.RcodeSuccess, d.record(d.one), d.record(d.two))
	eventually(t, "the second is there", func() bool { return c.members(one, two) })
	probed(d.two)
	eventually(t, "the second has joined", func() bool { return c.ups(two) == 1 })
	d.two.probed(answer(http.StatusServiceUnavailable))
	eventually(t, "the second is down", func() bool { return c.downs(two) == 1 })

	server.stop()
	eventually(t, "discovery failed", func() bool { return c.log.count("discovery failed; keeping the last known backends", nil) == 1 })
	d.two.probed(answer(http.StatusOK))
	eventually(t, "the second is up", func() bool { return c.ups(two) == 2 })
	d.one.probed(answer(http.StatusServiceUnavailable))
	eventually(t, "the first is down", func() bool { return c.downs(one) == 1 })
	for range 10 {
		if status, body := get(t, port); status != http.StatusOK || body != d.two.address {
			t.Fatalf("got status %d from %q, want the second backend alone", status, body)
		}
	}
	if !c.members(one, two) {
		t.Errorf("the backends are %v", c.metric("up"))
	}
	c.expectHistory(one, "backend_down")

	server.set(dns.RcodeSuccess, d.record(d.two))
	server.start()
	eventually(t, "the first has left", func() bool { return c.members(two) })
	left := d.one.probes.Load()
	probed(d.two)
	probed(d.two)
	if n := d.one.probes.Load() - left; n > 1 { // one may have been on its way
		t.Errorf("a backend that has left was probed %d times", n)
	}
	c.expectHistory(one, "backend_down")
	c.expectHistory(two, "backend_up", "backend_down", "backend_up")
}
