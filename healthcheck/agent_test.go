// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func TestAgent(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	for _, tt := range []struct {
		name, options string
		serve         func(net.Conn)
		want, wantErr string
	}{
		{name: "a line", serve: say("75% up\n"), want: "75% up"},
		{name: "the first of two lines", serve: say("drain\r\nready\r\n"), want: "drain"},
		{name: "a line without an end", serve: say("maint"), want: "maint"},
		{name: "an empty line", serve: say("\n"), want: ""},
		{name: "only a reason", serve: say("#what\n"), want: ""},
		{name: "unknown words", serve: say("hello maxconn:7\n"), want: "maxconn:7"},
		{name: "in two pieces", serve: func(c net.Conn) {
			_, _ = io.WriteString(c, "down#di")
			_, _ = io.WriteString(c, "sk full\n")
		}, want: "down#disk full"},
		{name: "a connection that stays open", serve: func(c net.Conn) {
			_, _ = io.WriteString(c, "up\n")
			_, _ = io.Copy(io.Discard, c)
		}, want: "up"},
		{name: "with send", options: "send \"hi\\r\\n\"", serve: func(c net.Conn) {
			if line, _ := bufio.NewReader(c).ReadString('\n'); line == "hi\r\n" {
				_, _ = io.WriteString(c, "ready\n")
			}
		}, want: "ready"},
		{name: "as long as allowed", serve: say("up" + strings.Repeat(" ", maxAgentLine-2) + "\n"), want: "up"},
		{name: "too long", serve: say("up" + strings.Repeat(" ", maxAgentLine-1) + "\n"), wantErr: "longer than 1024 bytes"},
		{name: "without end", serve: func(c net.Conn) {
			for _, err := io.WriteString(c, "up "); err == nil; {
				_, err = io.WriteString(c, strings.Repeat("up ", 99))
			}
		}, wantErr: "longer than 1024 bytes"},
		{name: "nothing", serve: func(net.Conn) {}, wantErr: "without a reply"},
		{name: "silence", options: "timeout 50ms", serve: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, wantErr: "no answer within 50ms"},
		{name: "half a line, then silence", options: "timeout 50ms", serve: func(c net.Conn) {
			_, _ = io.WriteString(c, "dow")
			_, _ = io.Copy(io.Discard, c)
		}, wantErr: `got "dow", expected the end of the line within 50ms`},
		{name: "half a line, then a reset", options: "send x", serve: func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1)) // otherwise the dial itself could fail
			_, _ = io.WriteString(c, "down")
			_ = c.(*net.TCPConn).SetLinger(0)
		}, wantErr: `got "down", expected the end of the line`},
		{name: "no agent", serve: say("HTTP/1.1 400 Bad Request\r\n\r\n"), wantErr: `unrecognized agent reply, first invalid word "HTTP/1.1"`},
		{name: "a number out of bounds", serve: say("weight:257\n"), wantErr: `first invalid word "weight:257"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := provisioned(t, new(Agent), "agent 1 {\n "+tt.options+"\n}")
			target := talk(t, tt.serve)
			if tt.wantErr != "" {
				expectResult(t, try(c, target), tt.wantErr)
				return
			}
			i, err := c.Steer(t.Context(), target)
			if got := agentLine(i); err != nil || got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// refusing returns a target without a listener.
func refusing(t *testing.T) Target {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	return NewTarget(closed.Addr().String(), "", 0)
}

// The agent is queried at its own port on the backend's host.
func TestAgentPort(t *testing.T) {
	_, port, _ := net.SplitHostPort(talk(t, func(c net.Conn) { _, _ = io.WriteString(c, "up\n") }).Address)
	closed := refusing(t).Address
	for _, tokens := range []string{"agent " + port, "agent {\n port " + port + "\n}"} {
		c := provisioned(t, new(Agent), tokens)
		expectResult(t, try(c, NewTarget(closed, "https", c.Port)), "")
		expectResult(t, try(c, NewTarget(closed, "", 0)), "refused")
	}
}

// On a unix socket there is only the application, which must not be queried as an agent.
func TestAgentOfUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := provisioned(t, new(Agent), "agent 1")
	expectResult(t, try(c, NewTarget("unix/"+socket, "", c.Port)), "no port for an agent")
}

func TestAgentRefused(t *testing.T) {
	for tokens, want := range map[string]string{
		"agent":                            "the agent's port is missing; write `health agent <port>`",
		"agent {\n send x\n}":              "the agent's port is missing; write `health agent <port>`",
		"agent 0":                          "port must be a whole number from 1 to 65535, got \"0\"",
		"agent 65536":                      "got \"65536\"",
		"agent http":                       "got \"http\"",
		"agent 1 2":                        "unexpected argument \"2\"",
		"agent 1 {\n port 2\n}":            "port is given twice",
		"agent {\n port 1\n port 2\n}":     "twice",
		"agent 1 {\n send \\q\n}":          "send: escapes must be",
		"agent 1 {\n passes 2\n}":          "unrecognized option \"passes\"",
		"agent 1 {\n fails 2\n}":           "unrecognized option \"fails\"",
		"agent 1 {\n initial down\n}":      "unrecognized option \"initial\"",
		"agent 1 {\n tls\n}":               "unrecognized option \"tls\"",
		"agent 1 {\n down_interval off\n}": "duration",
	} {
		err := new(Agent).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: got %v, want %q with file and line", tokens, err, want)
		}
	}
	for _, s := range []Schedule{{Port: 1, Passes: 1}, {Port: 1, Fails: 1}, {Port: 1, Initial: "up"}} {
		if err := (&Agent{Schedule: s}).Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "each reply takes effect at once") {
			t.Errorf("%+v: got %v", s, err)
		}
	}
	for want, c := range map[string]*Agent{
		"the agent's port is missing":           {},
		"port must be a whole number from 1":    {Schedule: Schedule{Port: 65536}},
		"send: escapes must be":                 {Schedule: Schedule{Port: 1}, Send: `\q`},
		"interval must be a duration from 10ms": {Schedule: Schedule{Port: 1, Interval: -1}},
	} {
		if err := c.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// targetedAgent is an agent check with its own targets, instead of those of its user.
type targetedAgent struct {
	*Agent
	target func() Target
}

func (a targetedAgent) Steer(ctx context.Context, _ Target) (health.Instruction, error) {
	return a.Agent.Steer(ctx, a.target())
}

// An instruction takes effect at once, and stays in force until another one replaces it, also while
// the agent cannot be reached. It does not override other checks or the operator.
func TestAgentInstructions(t *testing.T) {
	var line atomic.Pointer[string] // nil while the agent cannot be reached
	// Outside of the bubble, where network I/O is not durably blocking.
	agent := talk(t, func(c net.Conn) { _, _ = io.WriteString(c, *line.Load()+"\n") })
	unreachable := refusing(t)
	target := func() Target {
		if line.Load() == nil {
			return unreachable
		}
		return agent
	}
	synctest.Test(t, func(t *testing.T) {
		c := provisioned(t, new(Agent), "agent 1 {\n interval 1s\n jitter 0%\n}")
		p, changes := watch(t, targetedAgent{c, target})
		other := health.NewStatus(true)
		b := backend.New("p", backend.Endpoint{Address: agent.Address, Settings: backend.Settings{Weight: new(10)}}, backend.NewState(), []*health.Status{p.Status, other}, nil)
		pass(500 * time.Millisecond)
		const refused = "dial tcp"
		for i, step := range []struct {
			says     string // "" while the agent cannot be reached
			up, open bool
			weight   float64
			err      string
		}{
			{"", true, true, 10, refused},
			{"10%", true, true, 1, ""},
			{"drain", true, false, 1, ""},
			{"ready", true, true, 1, ""},
			{"down#disk full", false, false, 1, "disk full"},
			{"", false, false, 1, refused},
			{"what", false, false, 1, "unrecognized agent reply"},
			{"ready weight:20", false, false, 20, "disk full"}, // does not set the health
			{"up", true, true, 20, ""},
			{"", true, true, 20, refused},
			{"maxconn:5", true, true, 20, ""},
			{"maint 100%", true, false, 10, ""},
			{"", true, false, 10, refused},
			{"up", true, false, 10, ""}, // does not set the state
			{"ready", true, true, 10, ""},
		} {
			line.Store(nil)
			if step.says != "" {
				line.Store(&step.says)
			}
			pass(time.Second)
			if b.Up() != step.up || b.Open() != step.open || b.EffectiveWeight() != step.weight {
				t.Errorf("%d: after %q up %v, open %v, weight %v; want %v, %v, %v",
					i, step.says, b.Up(), b.Open(), b.EffectiveWeight(), step.up, step.open, step.weight)
			}
			if got := p.Status.Report().LastError; !strings.HasPrefix(got, step.err) || (got == "") != (step.err == "") {
				t.Errorf("%d: after %q the last error is %q, want %q", i, step.says, got, step.err)
			}
		}
		if n := len(changes()); n != 9 { // all except those that repeat values, or set none
			t.Errorf("%d changes: %q", n, changes())
		}

		other.Observe(errors.New("refused"), 1, 1)
		b.SetAdmin(health.Drain)
		all := "up ready"
		line.Store(&all)
		pass(time.Second)
		if b.Up() || b.Open() {
			t.Error("the agent overrode another check")
		}
		other.Observe(nil, 1, 1)
		if !b.Up() || b.Open() {
			t.Error("the agent overrode the operator")
		}
		b.SetAdmin(health.Ready)
		if !b.Open() {
			t.Error("not open although checks, agent and operator allow requests")
		}
	})
}
