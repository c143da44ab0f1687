// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package l4

import (
	"fmt"
	"io"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// A client that leaves while it waits leaves the queue at once. One that has sent something and ended its half may
// wait for the answer, and gets it.
func TestClientLeavesTheQueue(t *testing.T) {
	t.Run("", testClientLeavesTheQueue)
	lbtest.NoLeaks(t)
}

func testClientLeavesTheQueue(t *testing.T) {
	f := start(t, to(`"max_requests":1,"queue":{"size":10,"timeout":"1m"}`, newServer(t, "a", nil)), "")
	totals := func() pool.RequestTotals { return pool.Current("db").Totals() }
	first := f.dial(t)
	first.line()
	waits := func(sent string) *client { // once it has sent something
		t.Helper()
		before := totals().Waiting
		c := f.dial(t)
		_, _ = io.WriteString(c, sent)
		eventually(t, "it waits", func() bool { return totals().Waiting == before+1 })
		return c
	}
	reset := func(c *client) { _ = c.SetLinger(0); _ = c.Close() }
	for i, leave := range []func(){
		func() { _ = waits("").Close() },
		func() { _ = waits("").CloseWrite() }, // it has not asked for anything
		func() { reset(waits("")) },
		func() { reset(waits("hello\n")) },
	} {
		leave()
		eventually(t, fmt.Sprint("client ", i, " has left"), func() bool {
			n := totals()
			return n.Waiting == 0 && n.Refused[pool.ReasonGone] == int64(i+1)
		})
	}
	patient := waits("hello\n")
	_ = patient.CloseWrite()
	f.prefetch.Store(4) // what matchers have read
	read := waits("abc\n")
	_ = read.CloseWrite()
	f.prefetch.Store(0)
	last := waits("one\n")
	_ = first.Close()
	if got := patient.line() + " " + patient.line(); got != "a hello" || !patient.ended(10e9) {
		t.Errorf("a client that has ended its half got %q", got)
	}
	if got := read.line() + " " + read.line(); got != "a abc" {
		t.Errorf("a client of which matchers have read all got %q", got)
	}
	if got := last.line() + " " + last.line() + " " + last.say("two"); got != "a one two" {
		t.Errorf("a client that has sent something got %q", got)
	}
	_ = last.Close()
	b := f.backend(t, "a")
	eventually(t, "the end", func() bool { return b.InFlight() == 0 && totals().Waiting == 0 })
	if n := f.failures.Load(); n != 0 {
		t.Errorf("%d errors, such as %v", n, f.latest.Load())
	}
	if n := totals().Refused[pool.ReasonGone]; n != 4 || b.Traffic.Totals().Begun != 4 {
		t.Errorf("%d have left, %+v", n, b.Traffic.Totals())
	}
}
