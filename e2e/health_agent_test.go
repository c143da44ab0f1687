// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// agent is the program beside a backend that steers it.
type agent struct {
	t       testing.TB
	address string

	mu    sync.Mutex
	line  string
	asked int
	l     net.Listener
}

// startAgent starts an agent that ends with the test.
func startAgent(t testing.TB, address, line string) *agent {
	t.Helper()
	a := &agent{t: t, address: address, line: line}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	a.l = l
	t.Cleanup(a.stop)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.asked++
			line := a.line
			a.mu.Unlock()
			io.WriteString(conn, line)
			conn.Close()
		}
	}()
	return a
}

// stop may be called again.
func (a *agent) stop() { a.l.Close() }

// say has the agent say a line, and waits until it has been taken: when the
// agent is asked for the second time from then on, the first is done with.
func (a *agent) say(line string) {
	a.t.Helper()
	a.mu.Lock()
	a.line = line
	said := a.asked
	a.mu.Unlock()
	eventually(a.t, "the agent is asked again", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.asked >= said+2
	})
}

// TestHealthAgent has an agent beside one of two backends steer it under load.
func TestHealthAgent(t *testing.T) {
	port, backendPort, agentPort := freePort(t), freePort(t), freePort(t)
	at := func(host string, port int) string { return fmt.Sprintf("%s:%d", host, port) }
	if l, err := net.Listen("tcp", at("127.0.0.2", backendPort)); err != nil {
		t.Skip("this system has 127.0.0.1 alone, and two backends need an agent's port each:", err)
	} else {
		l.Close()
	}
	other := startScripted(t, at("127.0.0.1", backendPort), nil)
	steered := startScripted(t, at("127.0.0.2", backendPort), nil)
	a := startAgent(t, at("127.0.0.2", agentPort), "up ready 100%\n")
	// The other one has no agent: nobody listens there, which changes nothing.
	c := startCaddy(t, "", poolSite(port, fmt.Sprintf("to %s %s\nhealth agent %d {\ninterval 100ms\ntimeout 5s\n}\n%s",
		other.address, steered.address, agentPort, check("http /health", twice)), "lb_retries 1"))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), loadRate, 0)
	eventually(t, "both backends answer", func() bool { return len(l.counts()) == 2 })
	// share expects the backend to take a share of 220 requests, from least to
	// most. The requests on their way at both ends, and the turn at which a new
	// round begins, are what it may be off by.
	share := func(least, most float64) {
		t.Helper()
		l.more(30) // those that were on their way
		before := l.counts()
		l.more(220)
		after := l.counts()
		got := float64(after[steered.address] - before[steered.address])
		if got /= got + float64(after[other.address]-before[other.address]); got < least || got > most {
			t.Errorf("the backend takes %.3f of the requests, want %v to %v", got, least, most)
		}
	}
	weight := func(want float64) {
		t.Helper()
		if w := c.metric("weight")[steered.address]; w != want {
			t.Errorf("the weight is %v, want %v", w, want)
		}
	}
	share(0.4, 0.6)
	a.say("10%\n") // 1/11 is 0.09
	weight(0.1)
	share(0.05, 0.15)
	a.say("drain\n")
	noTraffic(c, l, steered.address)
	a.say("ready 100%\n")
	weight(1)
	share(0.4, 0.6)
	c.expectHistory(steered.address)

	a.say("down#disk full\n")
	noTraffic(c, l, steered.address)
	c.expectHistory(steered.address, "backend_down")
	if r := c.reason(steered.address, "backend_down"); !strings.Contains(r, "disk full") {
		t.Errorf("the reason is %q", r)
	}
	a.say("up 10%\n")
	c.expectHistory(steered.address, "backend_down", "backend_up")
	share(0.05, 0.15)

	a.say("") // not even a word
	share(0.05, 0.15)
	a.stop()
	l.more(300) // it would be asked some times
	share(0.05, 0.15)
	weight(0.1)
	l.stop()
	l.mustNotFail()
	c.expectHistory(steered.address, "backend_down", "backend_up")
	c.expectHistory(other.address)
}
