// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// dnsServer answers as it is told, at one address, also after it was stopped.
type dnsServer struct {
	t       testing.TB
	address string
	server  *dns.Server

	mu      sync.Mutex
	records []string // in the format of a zone file
	code    int      // other than success, it is all there is in an answer
	asked   int
}

// startDNS starts a server that stops with the test.
func startDNS(t testing.TB, records ...string) *dnsServer {
	t.Helper()
	d := &dnsServer{t: t, address: freeAddress(t), records: records}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *dnsServer) start() {
	d.t.Helper()
	conn, err := net.ListenPacket("udp", d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.server = &dns.Server{PacketConn: conn, Handler: d}
	ready := make(chan struct{})
	d.server.NotifyStartedFunc = func() { close(ready) }
	go d.server.ActivateAndServe()
	<-ready
}

// stop may be called again.
func (d *dnsServer) stop() { d.server.Shutdown() }

// set replaces what the server answers.
func (d *dnsServer) set(code int, records ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.code, d.records = code, records
}

// queries returns how often the server was asked.
func (d *dnsServer) queries() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// ServeDNS implements [dns.Handler].
func (d *dnsServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	answer := new(dns.Msg).SetRcode(query, d.code)
	for _, text := range d.records {
		rr, err := dns.NewRR(text)
		if err != nil {
			d.t.Error(err)
			continue
		}
		q := query.Question[0]
		if d.code == dns.RcodeSuccess && rr.Header().Rrtype == q.Qtype && dns.CanonicalName(rr.Header().Name) == dns.CanonicalName(q.Name) {
			answer.Answer = append(answer.Answer, rr)
		}
	}
	w.WriteMsg(answer)
}
