// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	weakrand "math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

func TestConnectionsAreCounted(t *testing.T) {
	f := start(t, to("", newServer(t, "a", nil)), "")
	c := f.dial(t)
	if got := c.line() + " " + c.say("hello"); got != "a hello" {
		t.Fatalf("got %q", got)
	}
	b := f.backend(t, "a")
	eventually(t, "all bytes are counted", func() bool { // the client may have an answer before that
		got := b.Traffic.Totals()
		return got.Sent == 6 && got.Received == 8
	})
	if got := b.Traffic.Totals(); b.InFlight() != 1 || got.Connected != 1 || got.Ended != 0 {
		t.Errorf("while it is open: %d in flight, %+v", b.InFlight(), got)
	}
	_ = c.Close()
	eventually(t, "the connection is counted", func() bool { return b.Traffic.Totals().Ended == 1 && b.InFlight() == 0 })
	got, totals := b.Traffic.Totals(), b.Totals()
	if got.Begun != 1 || got.Connecting <= 0 || got.Open <= 0 || got.Early != 0 || totals.Responses[1] != 1 || totals.Requests != 1 {
		t.Errorf("after its end: %+v, %+v", got, totals)
	}
	if good, bad := b.Outcomes(); good != 1 || bad != 0 {
		t.Errorf("%d good and %d bad outcomes", good, bad)
	}
	const counted = "caddy_ballast_backend_connection_bytes_total"
	if sent, received := f.Metric(t, counted, "direction", "sent"), f.Metric(t, counted, "direction", "received"); sent != 6 || received != 8 {
		t.Errorf("metrics have %v bytes sent and %v received", sent, received)
	}
	if r := report.OfPool(pool.Current("db")).Connections; r == nil || r.Open != 0 || r.Made != 1 || r.Sent != 6 || r.Received != 8 || r.Connect <= 0 || r.Duration <= 0 {
		t.Errorf("the report has %+v", r)
	}
}

// What matchers have read comes first.
func TestPrefetchedBytes(t *testing.T) {
	f := start(t, to("", newServer(t, "a", func(c net.Conn) { _, _ = io.Copy(c, c) })), "")
	f.prefetch.Store(4)
	c := f.dial(t)
	if got := c.say("GET / HTTP/1.1"); got != "GET / HTTP/1.1" {
		t.Errorf("got %q", got)
	}
	eventually(t, "all bytes are counted", func() bool { return f.backend(t, "a").Traffic.Totals().Sent == 15 })
}

// Bulk goes both ways at a time, by splice where there is one, and arrives whole, also after pauses.
func TestBulk(t *testing.T) {
	f := start(t, to("", newServer(t, "a", func(c net.Conn) {
		sum := sha256.New()
		_, _ = io.Copy(c, io.TeeReader(c, sum))
		_, _ = c.Write(sum.Sum(nil))
	})), "")
	c := f.dial(t)
	var sent [32]byte
	var came atomic.Int64
	const size = 24 << 20
	go func() {
		sum, r := sha256.New(), weakrand.NewChaCha8([32]byte{1})
		w := io.MultiWriter(c.TCPConn, sum)
		for left := size; left > 0; {
			n := min(left, 1+weakrand.IntN(3<<20))
			_, _ = io.CopyN(w, r, int64(n))
			left -= n
			for came.Load() < int64(size-left) && left%4 > 0 { // mostly a pause of both directions, until all is back
				time.Sleep(time.Millisecond)
			}
		}
		sent = [32]byte(sum.Sum(nil))
		_ = c.CloseWrite()
	}()
	var got []byte
	for chunk := make([]byte, 64<<10); ; {
		n, err := c.lines.Read(chunk)
		got = append(got, chunk[:n]...)
		came.Add(int64(n))
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != size+32 {
		t.Fatalf("%d bytes came back, want %d", len(got), size+32)
	}
	if echoed := sha256.Sum256(got[:size]); echoed != sent || !bytes.Equal(got[size:], sent[:]) {
		t.Error("the bytes differ")
	}
	b := f.backend(t, "a")
	eventually(t, "the end", func() bool { return b.InFlight() == 0 })
	if n := b.Traffic.Totals(); n.Sent != size || n.Received != size+32 {
		t.Errorf("counted %+v", n)
	}
}

// Each side may end its half first, and the other goes on.
func TestHalfClose(t *testing.T) {
	f := start(t, to("", newServer(t, "a", func(c net.Conn) { // answers when the client has ended
		all, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "%d bytes\n", len(all))
	})), "")
	c := f.dial(t)
	_, _ = io.WriteString(c, "12345")
	_ = c.CloseWrite()
	if got := c.line(); got != "5 bytes" || !c.ended(10*time.Second) {
		t.Errorf("the client ends first: got %q", got)
	}

	heard := make(chan string, 1)
	f = start(t, to("", newServer(t, "a", func(c net.Conn) { // ends first
		_, _ = io.WriteString(c, "bye\n")
		_ = c.(*net.TCPConn).CloseWrite()
		all, _ := io.ReadAll(c)
		heard <- string(all)
	})), "")
	c = f.dial(t)
	if got := c.line(); got != "bye" || !c.ended(10*time.Second) {
		t.Errorf("the backend ends first: got %q", got)
	}
	_, _ = io.WriteString(c, "still here")
	_ = c.Close()
	if got := <-heard; got != "still here" {
		t.Errorf("the backend heard %q", got)
	}
}

// A slow reader slows the writer down: nothing piles up in between but the sockets' buffers.
func TestBackPressure(t *testing.T) {
	held := make(chan int64, 1)
	f := start(t, to("", newServer(t, "a", func(c net.Conn) {
		written := int64(0)
		for chunk := make([]byte, 64<<10); ; {
			_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := c.Write(chunk)
			if written += int64(n); err != nil || written > 200<<20 {
				held <- written
				return
			}
		}
	})), "")
	c := f.dial(t)
	if n := <-held; n > 64<<20 { // autotuned buffers of four sockets, at most 6 MB each, and a pipe
		t.Errorf("%d bytes were taken for a client that reads none", n)
	}
	_ = c.Close()
	b := f.backend(t, "a")
	eventually(t, "the end", func() bool { return b.InFlight() == 0 })
}

// A backend that refuses costs a try, and no connection.
func TestRetries(t *testing.T) {
	dead, alive := newServer(t, "dead", nil), newServer(t, "alive", nil)
	dead.kill()
	f := start(t, to(`"outliers":{"off":true}`, dead, alive), `"selection_policy":{"policy":"wrr"}`)
	for range 10 {
		if got := f.dial(t).line(); got != "alive" {
			t.Fatalf("got %q: %v", got, f.latest.Load())
		}
	}
	b := f.backend(t, "dead")
	if n := b.Totals().Failures[outlier.Refused]; n != 5 || b.Traffic.Totals().Begun != 5 || b.Traffic.Totals().Connected != 0 || b.InFlight() != 0 {
		t.Errorf("%d refused, %+v", n, b.Traffic.Totals())
	}
	if n := f.backend(t, "alive").Totals().Retries; n != 5 {
		t.Errorf("%d retries, want 5", n)
	}

	alive.kill()
	if got := f.dial(t).line(); !strings.HasPrefix(got, "error") {
		t.Errorf("got %q of no backend", got)
	}
	eventually(t, "the error", func() bool { return f.failures.Load() == 1 })
	if got := fmt.Sprint(f.latest.Load()); !strings.Contains(got, "of pool db: dial tcp") || !strings.Contains(got, "connection refused") {
		t.Errorf("the error is %s", got)
	}
}

// Backends that refuse are ejected, and connections that the backend ends at once count as failures.
func TestOutliers(t *testing.T) {
	refuses, ends, good := newServer(t, "refuses", nil), newServer(t, "ends", func(net.Conn) {}), newServer(t, "good", nil)
	refuses.kill()
	f := start(t, to(`"outliers":{"consecutive_errors":3,"max_ejected":0.7}`, refuses, ends, good), `"selection_policy":{"policy":"wrr"}`)
	eventually(t, "both are ejected", func() bool {
		f.dial(t).line()
		return f.backend(t, "refuses").EjectionState() == outlier.Ejected && f.backend(t, "ends").EjectionState() == outlier.Ejected
	})
	b := f.backend(t, "ends")
	if n := b.Traffic.Totals(); n.Early < 3 || b.Totals().Failures[outlier.Reset] != n.Early {
		t.Errorf("%+v, failures %v", n, b.Totals().Failures)
	}
	for range 10 {
		if got := f.dial(t).line(); got != "good" {
			t.Fatalf("got %q", got)
		}
	}
}

// Clients that end at once are no fault of the backend, nor are backends that answer and end.
func TestEndsThatAreNoFailures(t *testing.T) {
	f := start(t, to("", newServer(t, "a", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })), "")
	b := f.backend(t, "a")
	for i := range 10 {
		c := f.dial(t)
		eventually(t, "it is connected", func() bool { return b.Traffic.Totals().Connected == int64(i+1) })
		if i%2 == 0 {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
	eventually(t, "all have ended", func() bool { return b.Traffic.Totals().Ended == 10 })
	if good, bad := b.Outcomes(); bad != 0 || good != 10 || b.Traffic.Totals().Early != 0 {
		t.Errorf("clients: %d good and %d bad outcomes, %+v", good, bad, b.Traffic.Totals())
	}

	f = start(t, to("", newServer(t, "a", func(c net.Conn) { _, _ = io.WriteString(c, "-ERR max number of clients reached\n") })), "")
	for range 5 {
		c := f.dial(t)
		c.line()
		_ = c.Close()
	}
	b = f.backend(t, "a")
	eventually(t, "all have ended", func() bool { return b.Traffic.Totals().Ended == 5 })
	if _, bad := b.Outcomes(); bad != 0 {
		t.Errorf("backends that answer: %d bad outcomes", bad)
	}
}

// The limit is one of connections, and exact; more wait in the queue.
func TestLimitAndQueue(t *testing.T) {
	f := start(t, to(`"max_requests":2,"queue":{"size":1,"timeout":"10s"}`, newServer(t, "a", nil)), "")
	first, second := f.dial(t), f.dial(t)
	if first.line() != "a" || second.line() != "a" {
		t.Fatal("the first two must be served")
	}
	third := f.dial(t)
	eventually(t, "the third waits", func() bool { return pool.Current("db").Totals().Waiting == 1 })
	if got := f.dial(t).line(); !strings.HasPrefix(got, "error") {
		t.Errorf("the fourth got %q", got)
	}
	eventually(t, "the fourth is refused", func() bool { return pool.Current("db").Totals().Refused[pool.ReasonQueueFull] == 1 })
	if n := f.backend(t, "a").InFlight(); n != 2 {
		t.Errorf("%d in flight", n)
	}
	_ = first.Close()
	if got := third.line(); got != "a" {
		t.Errorf("the third got %q", got)
	}
}

// A drain takes no new connections and ends none.
func TestDrain(t *testing.T) {
	f := start(t, to("", newServer(t, "a", nil), newServer(t, "b", nil)), `"selection_policy":{"policy":"wrr"}`)
	first := f.dial(t)
	drained := first.line()
	state := health.Drain
	if _, err := pool.Current("db").Manager().Change(drained, membership.Change{Admin: &state}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if got := f.dial(t).line(); got == drained {
			t.Errorf("a new connection went to %s, which drains", got)
		}
	}
	if got := first.say("still there"); got != "still there" || f.backend(t, drained).InFlight() != 1 {
		t.Errorf("got %q with %d in flight", got, f.backend(t, drained).InFlight())
	}
	_ = first.Close()
	eventually(t, "it is empty", func() bool { return f.backend(t, drained).InFlight() == 0 })
}
