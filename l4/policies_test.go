// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// policyOptions is the option of a policy by name.
func policyOptions(name string) string {
	key := ""
	if slices.Contains(lbtest.Policies(lbtest.ByKey), name) {
		key = `,"key":"client_ip"`
	}
	if name == "sticky" {
		key = `,"client_ip":true`
	}
	return fmt.Sprintf(`"selection_policy":{"policy":%q%s}`, name, key)
}

// Every registered policy does in balance what it does for requests: backends that serve all have connections, the
// limit is exact, one that refuses costs a try, and one that is down or has no weight gets none.
func TestEveryPolicy(t *testing.T) {
	for _, name := range append(lbtest.Policies(), "sticky") {
		t.Run(name, func(t *testing.T) {
			n := newNetwork("a:1", "b:1", "c:1", "zero:1")
			config := `{"outliers":{"off":true},"max_requests":3,"backends":[{"dial":"a:1","id":"a:1"},{"dial":"b:1","id":"b:1"},{"dial":"c:1","id":"c:1"},{"dial":"zero:1","id":"zero:1","weight":0}],` + checked + `}`
			virtual(t, n, config, policyOptions(name), func(t *testing.T, f *front) {
				if got := calls(f, 200); got["a:1"] == 0 || got["b:1"] == 0 || got["c:1"] == 0 || got["a:1"]+got["b:1"]+got["c:1"] != 200 {
					t.Errorf("all are up: got %v", got)
				}
				var open []*caller
				for i := range 9 {
					c := f.callFrom(fmt.Sprintf("192.0.2.%d:5000", i))
					if got := c.line(); got == "zero:1" || len(got) != 3 {
						t.Errorf("connection %d of 9, for which there is room: got %q", i+1, got)
					}
					open = append(open, c)
				}
				c := f.call()
				if <-c.ended; c.err == nil || pool.Current("db").Totals().Refused[pool.ReasonFull] != 1 {
					t.Errorf("one too many: error %v", c.err)
				}
				for _, c := range open {
					_ = c.hangUp()
				}
				n.serve("b:1", nil)
				if got := calls(f, 60); got["a:1"]+got["c:1"] != 60 {
					t.Errorf("one refuses: got %v", got)
				}
				setRole(t, "a:1", false)
				time.Sleep(2 * time.Second)
				n.counts()
				if got := calls(f, 60); got["c:1"] != 60 || n.count("a:1") > 0 {
					t.Errorf("one is down, and one refuses: got %v, and the one that is down was dialed %d times", got, n.count("a:1"))
				}
				for _, id := range []string{"a:1", "b:1", "c:1"} {
					if b := f.backend(t, id); b.InFlight() != 0 || b.Taken() != 0 {
						t.Errorf("%s has %d in flight, %d slots taken", id, b.InFlight(), b.Taken())
					}
				}
			})
		})
	}
	lbtest.NoLeaks(t)
}

// distant is a network on which addresses take different times to connect to.
type distant struct {
	*network
	far map[string]time.Duration
}

func (d distant) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return late{d.network, d.far[address]}.DialContext(ctx, network, address)
}

// Policies that go by latency prefer the backend that connects faster: with 5 and 50 ms, it has most connections.
func TestTimeToConnect(t *testing.T) {
	for _, name := range lbtest.Policies(lbtest.ByLatency) {
		t.Run(name, func(t *testing.T) {
			n := newNetwork("near:1", "far:1")
			virtual(t, n, at("", "near:1", "far:1"), policyOptions(name), func(t *testing.T, f *front) {
				f.handler.dialer = distant{n, map[string]time.Duration{"near:1": 5 * time.Millisecond, "far:1": 50 * time.Millisecond}}
				calls(f, 50) // learns
				if got := calls(f, 200); got["near:1"] < 160 {
					t.Errorf("got %v", got)
				}
			})
		})
	}
}

// Policies that go by load count connections until both sides have ended: 20 are spread evenly, and while those of
// one backend are open the next go to the other.
func TestOpenConnectionsAreLoad(t *testing.T) {
	for _, name := range lbtest.Policies(lbtest.ByLoad) {
		t.Run(name, func(t *testing.T) {
			n := newNetwork("b:1")
			n.serve("a:1", func(conn net.Conn) { // goes on after the client's end
				_, _ = io.WriteString(conn, "a:1\n")
				_, _ = io.Copy(io.Discard, conn)
				time.Sleep(time.Minute)
			})
			virtual(t, n, at("", "a:1", "b:1"), policyOptions(name), func(t *testing.T, f *front) {
				open := map[string][]*caller{}
				for range 20 {
					c := f.call()
					id := c.line()
					open[id] = append(open[id], c)
				}
				if math.Abs(float64(len(open["a:1"])-len(open["b:1"]))) > 2 {
					t.Errorf("%d and %d of 20 connections", len(open["a:1"]), len(open["b:1"]))
				}
				for _, c := range open["a:1"] {
					_ = c.CloseWrite() // ended half: still load, until the server has ended, too
				}
				synctest.Wait()
				for _, c := range open["b:1"] {
					_ = c.hangUp()
				}
				for range 3 {
					c := f.call()
					if id := c.line(); id != "b:1" {
						t.Errorf("with %d open on a:1, one went to %s", f.backend(t, "a:1").InFlight(), id)
					}
					defer func() { _ = c.hangUp() }()
				}
				for _, c := range open["a:1"] {
					_ = c.hangUp()
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
