// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

func init() {
	caddy.RegisterModule(new(roleCheck))
	caddy.RegisterModule(new(tellingAgent))
}

// roles are what the check of a test sees: the addresses whose probes fail. Safe for concurrent use.
var roles sync.Map

// roleCheck is a check that passes unless roles has the address.
type roleCheck struct{ healthcheck.HTTP }

func (*roleCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.role", New: func() caddy.Module { return new(roleCheck) }}
}

func (*roleCheck) Probe(_ context.Context, t healthcheck.Target) error {
	if _, fails := roles.Load(t.Address); fails {
		return errors.New("not the primary")
	}
	return nil
}

// instructions are what the agents of a test say, by address. Safe for concurrent use.
var instructions sync.Map

// tellingAgent is an agent that says what instructions has.
type tellingAgent struct{ roleCheck }

func (*tellingAgent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.telling", New: func() caddy.Module { return new(tellingAgent) }}
}

func (*tellingAgent) Steer(_ context.Context, t healthcheck.Target) (i healthcheck.Instruction, _ error) {
	if told, ok := instructions.Load(t.Address); ok {
		i = told.(healthcheck.Instruction)
	}
	return i, nil
}

// checked are options of a pool whose backends have the check, once in a second.
const checked = `"health":[{"check":"role","interval":"1s","fails":1,"passes":1,"jitter":0},{"check":"telling","interval":"1s","jitter":0}],"guard":false`

func setRole(t *testing.T, address string, primary bool) {
	if primary {
		roles.Delete(address)
		return
	}
	roles.Store(address, true)
	t.Cleanup(func() { roles.Delete(address) })
}

func change(t *testing.T, id string, c membership.Change) {
	t.Helper()
	if _, err := pool.Current("db").Manager().Change(id, c); err != nil {
		t.Fatal(err)
	}
}

// When another backend becomes the primary, connections to the old one are closed with the first probe that
// sees it, and new ones go to the new one only.
func TestPrimaryChanges(t *testing.T) {
	n := newNetwork("one:1", "two:1")
	synctest.Test(t, func(t *testing.T) {
		setRole(t, "two:1", false)
		f := n.load(t, at(`"on_down":"close",`+checked, "one:1", "two:1"), "")
		time.Sleep(1500 * time.Millisecond)
		var old []*caller
		for range 10 {
			c := f.call()
			if got := c.line(); got != "one:1" {
				t.Fatalf("got %q, want the primary", got)
			}
			old = append(old, c)
		}
		began := time.Now()
		setRole(t, "one:1", false)
		setRole(t, "two:1", true)
		for _, c := range old {
			<-c.ended
		}
		if took := time.Since(began); took > 1100*time.Millisecond { // a probe each second, and a step of the control loop
			t.Errorf("the last connection to the old primary ended after %v", took)
		}
		time.Sleep(time.Second)
		n.counts()
		for range 10 {
			c := f.call()
			if got := c.line(); got != "two:1" {
				t.Errorf("got %q, want the new primary", got)
			}
			_ = c.hangUp()
		}
		if got := fmt.Sprint(n.counts()); got != "map[two:1:10]" {
			t.Errorf("dialed %s", got)
		}
		b := f.backend(t, "one:1")
		if fails := b.Totals().Failures[outlier.Closed]; fails != 10 || b.InFlight() != 0 {
			t.Errorf("%d are counted as closed, want 10; %d in flight", fails, b.InFlight())
		}
		if _, bad := b.Outcomes(); bad != 0 {
			t.Errorf("%d of them count against the backend", bad)
		}
	})
	lbtest.NoLeaks(t)
}

// on_down close closes the connections of a backend that goes down or into maintenance, whoever says so, and of no
// other: a drain, an ejection, a weight of 0 and a removal close nothing. Without it nothing is closed.
func TestOnDown(t *testing.T) {
	tell := func(i healthcheck.Instruction) func(*testing.T, *front) {
		return func(t *testing.T, _ *front) {
			instructions.Store("a:1", i)
			t.Cleanup(func() { instructions.Delete("a:1") })
		}
	}
	state := func(s health.Admin) func(*testing.T, *front) {
		return func(t *testing.T, _ *front) { change(t, "a:1", membership.Change{Admin: &s}) }
	}
	for name, tt := range map[string]struct {
		cause  func(*testing.T, *front)
		closes bool
	}{
		"check":         {func(t *testing.T, _ *front) { setRole(t, "a:1", false) }, true},
		"maint":         {state(health.Maint), true},
		"drain":         {state(health.Drain), false},
		"agent's down":  {tell(healthcheck.Instruction{Up: new(false)}), true},
		"agent's maint": {tell(healthcheck.Instruction{Admin: new(health.Maint)}), true},
		"agent's drain": {tell(healthcheck.Instruction{Admin: new(health.Drain)}), false},
		"removal": {func(t *testing.T, _ *front) {
			if _, err := pool.Current("db").Manager().Remove("a:1", membership.Removal{}); err != nil {
				t.Error(err)
			}
		}, false},
		"weight": {func(t *testing.T, _ *front) {
			change(t, "a:1", membership.Change{Weight: &membership.Override{Value: new(0)}})
		}, false},
		"ejection": {func(t *testing.T, f *front) {
			for range 50 { // its new connections end at once
				c := f.call()
				_ = c.Close()
				if <-c.ended; f.backend(t, "a:1").EjectionState() == outlier.Ejected {
					return
				}
			}
			t.Error("it is not ejected")
		}, false},
	} {
		for _, onDown := range []string{"close", "keep"} {
			t.Run(name+" "+onDown, func(t *testing.T) {
				n := newNetwork("a:1", "b:1")
				virtual(t, n, at(fmt.Sprintf(`"on_down":%q,"outliers":{"consecutive_errors":3},%s`, onDown, checked), "a:1", "b:1"), `"selection_policy":{"policy":"wrr"}`, func(t *testing.T, f *front) {
					time.Sleep(1500 * time.Millisecond)
					open := make(map[string]*caller)
					for len(open) < 2 {
						c := f.call()
						open[c.line()] = c
					}
					if name == "ejection" {
						n.serve("a:1", nil)
					}
					tt.cause(t, f)
					time.Sleep(3 * time.Second)
					closes := tt.closes && onDown == "close"
					if open["a:1"].over() != closes || open["b:1"].over() {
						t.Errorf("closed: %v, want %v; that of the other backend: %v", open["a:1"].over(), closes, open["b:1"].over())
					}
					if got := open["b:1"].say("hello"); got != "hello" {
						t.Errorf("the other backend: got %q", got)
					}
					if !closes {
						if got := open["a:1"].say("hello"); got != "hello" {
							t.Errorf("got %q", got)
						}
					}
					for _, c := range open {
						_ = c.hangUp()
					}
				})
				lbtest.NoLeaks(t)
			})
		}
	}
}

// A backend that goes down while a connection to it is being made gets none.
func TestDownWhileConnecting(t *testing.T) {
	n := newNetwork("a:1")
	slow := greets("a:1")
	n.serve("a:1", slow)
	virtual(t, n, at(`"on_down":"close",`+checked, "a:1"), "", func(t *testing.T, f *front) {
		time.Sleep(1500 * time.Millisecond)
		f.handler.dialer = late{n, 5 * time.Second}
		c := f.call()
		synctest.Wait()
		setRole(t, "a:1", false)
		if <-c.ended; c.err != nil {
			t.Error(c.err)
		}
		b := f.backend(t, "a:1")
		if b.InFlight() != 0 || b.Totals().Failures[outlier.Closed] != 1 || n.count("a:1") != 1 {
			t.Errorf("%d in flight, failures %v", b.InFlight(), b.Totals().Failures)
		}
	})
}

// late is a network whose connections take a time.
type late struct {
	*network
	wait time.Duration
}

func (l late) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	lbtest.Wait(ctx, l.wait)
	return l.network.DialContext(context.WithoutCancel(ctx), network, address)
}

// A drained backend is safe to remove when its last connection has ended, whoever ends it.
func TestDrainVerdict(t *testing.T) {
	n := newNetwork("a:1", "b:1")
	virtual(t, n, at("", "a:1", "b:1"), `"selection_policy":{"policy":"wrr"}`, func(t *testing.T, f *front) {
		var of []*caller // of a:1
		for len(of) < 3 {
			if c := f.call(); c.line() == "a:1" {
				of = append(of, c)
			} else {
				_ = c.hangUp()
			}
		}
		drain := health.Drain
		change(t, "a:1", membership.Change{Admin: &drain})
		verdict := func() report.Drain { return *report.OfBackend(pool.Current("db"), f.backend(t, "a:1")).Drain }
		for i, c := range of {
			if d := verdict(); d.Safe || d.Requests != len(of)-i {
				t.Errorf("with %d connections: %+v", len(of)-i, d)
			}
			if i == 0 { // ended half: still a connection
				_ = c.CloseWrite()
				synctest.Wait()
			}
			_ = c.hangUp()
		}
		if d := verdict(); !d.Safe || d.Requests != 0 {
			t.Errorf("without connections: %+v", d)
		}
		if _, err := pool.Current("db").Manager().Remove("a:1", membership.Removal{}); err != nil {
			t.Fatal(err)
		}
	})
}
