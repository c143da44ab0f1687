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
	"net/http"
	"net/http/httptest"
	"strconv"
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
	if got := b.Traffic.Totals(); b.InFlight() != 1 || got.Connected != 1 || got.Ended != 0 || got.Sent != 6 || got.Received != 8 {
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
	const size = 24 << 20
	go func() {
		sum, r := sha256.New(), weakrand.NewChaCha8([32]byte{1})
		w := io.MultiWriter(c.TCPConn, sum)
		for left := size; left > 0; {
			n := min(left, 1+weakrand.IntN(3<<20))
			_, _ = io.CopyN(w, r, int64(n))
			left -= n
			time.Sleep(time.Duration(weakrand.IntN(20)) * time.Millisecond)
		}
		sent = [32]byte(sum.Sum(nil))
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c.lines)
	if err != nil {
		t.Fatal(err)
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
	if got := c.line(); got != "5 bytes" || !c.ended(time.Second) {
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
	if got := c.line(); got != "bye" || !c.ended(time.Second) {
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
	var written atomic.Int64
	f := start(t, to("", newServer(t, "a", func(c net.Conn) {
		chunk := make([]byte, 64<<10)
		for {
			n, err := c.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})), "")
	c := f.dial(t)
	_ = c.lines.UnreadByte()
	before := int64(-1)
	eventually(t, "the backend is held", func() bool {
		time.Sleep(50 * time.Millisecond)
		now := written.Load()
		held := now == before && now > 0
		before = now
		return held
	})
	if before > 64<<20 { // autotuned buffers of four sockets, at most 6 MB each, and a pipe
		t.Errorf("%d bytes were taken for a client that reads none", before)
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

// primaryPool is a pool whose backends have Patroni's check beside them, all on one port: /primary answers 200 on
// the one whose number primary has.
func primaryPool(t *testing.T, primary *atomic.Int32, servers ...*server) string {
	t.Helper()
	port := 0
	for i, s := range servers {
		host, _, _ := net.SplitHostPort(s.address)
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		check := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/primary" || int(primary.Load()) != i {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		_ = check.Listener.Close()
		check.Listener = l
		check.Start()
		t.Cleanup(check.Close)
	}
	return to(fmt.Sprintf(`"on_down":"close","health":[{"check":"http","uri":"/primary","port":%d,"interval":"50ms","fails":2,"initial":"down"}]`, port), servers...)
}

// When another backend becomes the primary, connections to the old one are closed at once, and new ones go to
// the new one only.
func TestPrimaryChanges(t *testing.T) {
	var primary atomic.Int32
	one, two := newServerAt(t, "127.0.0.2:0", "one", nil), newServerAt(t, "127.0.0.3:0", "two", nil)
	f := start(t, primaryPool(t, &primary, one, two), "")
	eventually(t, "one is the primary", func() bool { return f.backend(t, "one").Up() && !f.backend(t, "two").Up() })
	var old []*client
	for range 10 {
		c := f.dial(t)
		if got := c.line(); got != "one" {
			t.Fatalf("got %q, want the primary", got)
		}
		old = append(old, c)
	}
	primary.Store(1)
	eventually(t, "the check sees it", func() bool { return !f.backend(t, "one").Up() })
	since := time.Now()
	for _, c := range old {
		if !c.ended(time.Second) {
			t.Error("a connection to the old primary is left after a second")
		}
	}
	t.Logf("the last of 10 ended %v after the check", time.Since(since))
	eventually(t, "two is the primary", func() bool { return f.backend(t, "two").Up() })
	before := one.accepted.Load()
	for range 10 {
		if got := f.dial(t).line(); got != "two" {
			t.Errorf("got %q, want the new primary", got)
		}
	}
	if n := one.accepted.Load() - before; n != 0 {
		t.Errorf("%d new connections went to the old primary", n)
	}
	b := f.backend(t, "one")
	eventually(t, "the counts", func() bool { return b.InFlight() == 0 })
	if n := b.Totals().Failures[outlier.Closed]; n != 10 {
		t.Errorf("%d are counted as closed, want 10", n)
	}
	if _, bad := b.Outcomes(); bad != 0 {
		t.Errorf("%d of them count against the backend", bad)
	}
}

func TestTimeouts(t *testing.T) {
	f := start(t, to("", newServer(t, "a", nil)), `"idle_timeout":"200ms"`)
	c := f.dial(t)
	c.line()
	for range 6 {
		time.Sleep(100 * time.Millisecond)
		if got := c.say("x"); got != "x" {
			t.Fatalf("a connection that is used ended: %q", got)
		}
	}
	if began := time.Now(); !c.ended(5*time.Second) || time.Since(began) < 150*time.Millisecond {
		t.Errorf("an idle connection ended after %v, want 200ms", time.Since(began))
	}

	f = start(t, to("", newServer(t, "a", nil)), `"max_lifetime":"300ms"`)
	c = f.dial(t)
	c.line()
	if !c.ended(5 * time.Second) {
		t.Error("it outlives its maximum")
	}

	// The backend has ended; the client does not notice.
	f = start(t, to("", newServer(t, "a", func(c net.Conn) { _, _ = io.WriteString(c, "bye\n") })), `"half_closed_timeout":"200ms"`)
	c = f.dial(t)
	c.line()
	eventually(t, "the other half is closed", func() bool { return f.backend(t, "a").InFlight() == 0 })

	// A backend that does not accept: its backlog is full.
	blackhole := `{"backends":[{"dial":"192.0.2.1:9","id":"a"}]}`
	f = start(t, blackhole, `"connect_timeout":"100ms","retries":0`)
	began := time.Now()
	f.dial(t).line()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("connecting took %v", took)
	}
}
