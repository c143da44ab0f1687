// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

func init() { caddy.RegisterModule(new(Agent)) }

// Agent lets a program beside the backend set its weight, limit and state, with the protocol of
// HAProxy's agent-check. On each connection to port, without TLS, the program sends one line of at
// most 1024 bytes with the weight, the maximum of requests in flight, the administrative state and
// the health of the backend. Values that a line omits stay in force, and so do all values while the
// program cannot be reached. A line takes effect at once: passes, fails and initial do not apply.
// Port is required.
type Agent struct {
	Schedule

	// Send is the text to send first. The escapes \r, \n, \t, \\ and \xHH stand for bytes. It may
	// have placeholders such as {env.PASSWORD}, which are replaced when the configuration is
	// loaded.
	Send string `json:"send,omitempty"`

	send string // set by Provision, then read-only
}

// maxAgentLine is the maximum length of an agent's line in bytes, without its end.
const maxAgentLine = 1024

// CaddyModule returns the Caddy module information.
func (*Agent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".agent", New: func() caddy.Module { return new(Agent) }}
}

// errAgentPort is the error of a missing port. There is no default, since the backend's own port belongs to the
// application.
var errAgentPort = errors.New("the agent's port is missing; write `health agent <port>`, or port in JSON")

// Provision sets up the check.
func (c *Agent) Provision(ctx caddy.Context) (err error) {
	if c.Passes != 0 || c.Fails != 0 || c.Initial != "" { // before defaults are set
		return errors.New("an agent has no passes, fails or initial, since each reply takes effect at once; remove them")
	}
	if err := c.Schedule.Provision(ctx); err != nil {
		return err
	}
	if c.Port == 0 {
		return errAgentPort
	}
	if err = c.parse(); err != nil {
		return err
	}
	c.send, err = caddyfileutil.Global("send", c.send)
	return err
}

// parse validates the options.
func (c *Agent) parse() (err error) {
	if c.send, err = unescape(c.Send); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Probe implements [Check]; it ignores the instruction.
func (c *Agent) Probe(ctx context.Context, t Target) error {
	_, err := c.Steer(ctx, t)
	return err
}

// Steer implements [AgentCheck].
func (c *Agent) Steer(ctx context.Context, t Target) (Instruction, error) {
	line, err := c.ask(ctx, t)
	if err != nil {
		return Instruction{}, err
	}
	i, invalid := parseAgentLine(line)
	if invalid != "" && i == (Instruction{}) {
		// Without any valid word, the peer may not be an agent.
		return i, fmt.Errorf("unrecognized agent reply, first invalid word %q; an agent sends words such as up, drain, 75%% or maxconn:30", invalid)
	}
	return i, nil
}

// Inherits implements [Inheriting]. An agent is not the backend, but on the same host.
func (c *Agent) Inherits(*httptransport.Transport) ([]string, error) { return c.DialOptions(), nil }

// ask connects to the agent and returns its line, possibly followed by a line break and further
// text.
func (c *Agent) ask(ctx context.Context, t Target) (string, error) {
	if caddy.IsUnixNetwork(t.Network) { // the only socket is that of the application itself
		return "", errors.New("a backend on a unix socket has no port for an agent")
	}
	conn, done, err := t.dial(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	if c.send != "" {
		if _, err := io.WriteString(conn, c.send); err != nil {
			return "", fmt.Errorf("sending: %w", err)
		}
	}
	line := make([]byte, 0, maxAgentLine+1)
	for {
		n, err := conn.Read(line[len(line):cap(line)])
		line = line[:len(line)+n]
		switch {
		case bytes.ContainsAny(line, "\r\n"):
			return string(line), nil
		case len(line) > maxAgentLine:
			return "", fmt.Errorf("the agent's reply is longer than %d bytes", maxAgentLine)
		case errors.Is(err, io.EOF) && len(line) > 0:
			return string(line), nil
		case errors.Is(err, io.EOF):
			return "", errors.New("the agent closed the connection without a reply")
		case err != nil && len(line) > 0:
			return "", &unexpectedError{line, "the end of the line", err}
		case err != nil:
			return "", fmt.Errorf("reading: %w", err)
		}
	}
}

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	health agent [<port>] {
//		port <n>
//		send <text>
//		# and the options of every check, as for http, but passes, fails and
//		# initial
//	}
func (c *Agent) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	var port string
	caddyfileutil.Head(d, &port)
	if port != "" {
		if c.Port, err = ports.Parse("port", port); err != nil {
			return d.WrapErr(err)
		}
	}
	head := *d
	opts := c.Options()
	for _, option := range []string{"passes", "fails", "initial"} {
		delete(opts, option)
	}
	parsePort := opts["port"]
	opts["port"] = func(d *caddyfile.Dispenser) error {
		if c.Port != 0 {
			return d.Err("port is given twice; write it once, behind `health agent` or in the block")
		}
		return parsePort(d)
	}
	opts["send"] = caddyfileutil.Valid(caddyfileutil.Replaced(&c.Send), func() error { check := *c; return check.parse() })
	if err := caddyfileutil.Block(d, opts); err != nil {
		return err
	}
	if c.Port == 0 {
		return head.WrapErr(errAgentPort)
	}
	return nil
}

// Interface guards
var (
	_ AgentCheck            = (*Agent)(nil)
	_ Inheriting            = (*Agent)(nil)
	_ caddy.Provisioner     = (*Agent)(nil)
	_ caddyfile.Unmarshaler = (*Agent)(nil)
)
