// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// A connection on which nothing moves ends when it has been idle for the time, and not before, whichever side
// has sent the last byte.
func TestIdleTimeout(t *testing.T) {
	n := newNetwork()
	n.serve("a:1", func(conn net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		for range 3 { // a byte at 40 s, 80 s and 120 s
			time.Sleep(40 * time.Second)
			_, _ = conn.Write([]byte("x"))
		}
		time.Sleep(time.Hour)
	})
	virtual(t, n, at("", "a:1"), `"idle_timeout":"1m"`, func(t *testing.T, f *front) {
		c := f.call()
		go func() { _, _ = io.Copy(io.Discard, c.lines) }()
		time.Sleep(150 * time.Second)
		_, _ = c.Write([]byte("x")) // the last byte
		time.Sleep(time.Minute - time.Millisecond)
		if c.over() {
			t.Error("it ended before it was idle for a minute")
		}
		if time.Sleep(2 * time.Millisecond); !c.over() || c.err != nil {
			t.Errorf("ended %v, error %v", c.over(), c.err)
		}
		if good, bad := f.backend(t, "a:1").Outcomes(); good != 1 || bad != 0 {
			t.Errorf("%d good and %d bad outcomes", good, bad)
		}
		_ = c.Close()
		time.Sleep(time.Hour)
	})
}

// When one side has ended, the other has the time of half_closed_timeout between two bytes.
func TestHalfClosedTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		options string
		limit   time.Duration
	}{
		"default":          {"", 5 * time.Minute},
		"shorter":          {`"half_closed_timeout":"10s"`, 10 * time.Second},
		"beside idle":      {`"half_closed_timeout":"10s","idle_timeout":"1h"`, 10 * time.Second},
		"longer than idle": {`"half_closed_timeout":"1h","idle_timeout":"20s"`, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork()
			n.serve("a:1", func(conn net.Conn) {
				_, _ = io.WriteString(conn, "bye\n")
				_ = conn.(*pipe).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			})
			virtual(t, n, at("", "a:1"), tt.options, func(t *testing.T, f *front) {
				c := f.call()
				if got := c.line(); got != "bye" {
					t.Fatalf("got %q", got)
				}
				for range 3 { // while bytes move it lasts
					time.Sleep(tt.limit - time.Millisecond)
					if _, err := c.Write([]byte("x")); err != nil || c.over() {
						t.Fatalf("it ended early: %v", err)
					}
				}
				time.Sleep(tt.limit - time.Millisecond)
				if c.over() {
					t.Error("it ended early")
				}
				if time.Sleep(2 * time.Millisecond); !c.over() {
					t.Errorf("it is there after %v", tt.limit)
				}
			})
		})
	}
}

// A connection that is in use ends at its maximum.
func TestMaxLifetime(t *testing.T) {
	virtual(t, newNetwork("a:1"), at("", "a:1"), `"max_lifetime":"1m"`, func(t *testing.T, f *front) {
		c := f.call()
		c.line()
		for range 59 {
			time.Sleep(time.Second)
			if got := c.say("x"); got != "x" {
				t.Fatal(got)
			}
		}
		if time.Sleep(999 * time.Millisecond); c.over() {
			t.Error("it ended early")
		}
		if time.Sleep(2 * time.Millisecond); !c.over() {
			t.Error("it outlives its maximum")
		}
	})
}

// Backends that do not accept cost the time to connect each, and are no loss to a connection while there is
// another.
func TestConnectTimeout(t *testing.T) {
	n := newNetwork("b:1")
	n.hangs["a:1"] = true
	virtual(t, n, at(`"outliers":{"off":true}`, "a:1", "b:1"), `"connect_timeout":"2s","selection_policy":{"policy":"wrr"}`, func(t *testing.T, f *front) {
		began := time.Now()
		for n.count("a:1") == 0 { // wrr gives it the first try of every other
			c := f.call()
			if got := c.line(); got != "b:1" {
				t.Errorf("got %q", got)
			}
			_ = c.hangUp()
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("one try of a backend that hangs took %v", took)
		}
		a := f.backend(t, "a:1")
		if fails := a.Totals().Failures[outlier.Timeout]; fails != 1 || a.InFlight() != 0 {
			t.Errorf("%d timeouts, %d in flight", fails, a.InFlight())
		}
		n.mu.Lock()
		n.hangs["b:1"] = true
		n.mu.Unlock()
		began = time.Now()
		c := f.call()
		if <-c.ended; c.err == nil || !strings.Contains(c.err.Error(), "of pool db: dial tcp") {
			t.Errorf("error %v", c.err)
		}
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("three tries took %v, want 2s each", took)
		}
	})
}

// What is not read by one side is not read of the other: nothing piles up in the handler, and a slow reader gets
// everything.
func TestSlowReader(t *testing.T) {
	n, size := newNetwork(), 1<<20
	n.serve("a:1", func(conn net.Conn) { _, _ = conn.Write(make([]byte, size)) })
	virtual(t, n, at("", "a:1"), "", func(t *testing.T, f *front) {
		c := f.call()
		synctest.Wait() // the pipe has no room: the handler holds what it has read
		if got := f.backend(t, "a:1").Traffic.Totals().Received; got != 0 {
			t.Errorf("%d bytes were taken for a client that reads none", got)
		}
		got := 0
		for buf := make([]byte, 1000); ; time.Sleep(time.Millisecond) {
			k, err := c.Read(buf)
			if got += k; err != nil {
				break
			}
		}
		_ = c.hangUp()
		if total := f.backend(t, "a:1").Traffic.Totals().Received; got != size || total != int64(size) {
			t.Errorf("%d bytes arrived, %d are counted", got, total)
		}
	})
}
