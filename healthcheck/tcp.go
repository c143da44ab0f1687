// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

func init() { caddy.RegisterModule(new(TCP)) }

// TCP is a health check that makes a connection and, optionally, checks what the backend sends on it. It uses TLS
// if the proxy does.
type TCP struct {
	Schedule

	// Send is the text to send first. The escapes \r, \n, \t, \\ and \xHH stand for bytes. It may
	// have placeholders such as {env.PASSWORD}, which are replaced when the configuration is
	// loaded.
	Send string `json:"send,omitempty"`
	// Expect is the expected response: a text within the first 64 KiB, with the escapes of
	// send, or a regular expression between slashes.
	Expect string `json:"expect,omitempty"`
	// TLS enables TLS where the proxy uses none, disables it where the proxy uses it, and
	// sets TLS options. Default: as the proxy.
	TLS *TLS `json:"tls,omitempty"`

	// Set by Provision, then read-only.
	send   string
	expect *pattern
}

// CaddyModule returns the Caddy module information.
func (*TCP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".tcp", New: func() caddy.Module { return new(TCP) }}
}

// Provision sets up the check.
func (c *TCP) Provision(ctx caddy.Context) (err error) {
	if err = c.Schedule.Provision(ctx); err != nil {
		return err
	}
	if err = c.parse(); err != nil {
		return err
	}
	if c.send, err = caddyfileutil.Global("send", c.send); err != nil {
		return err
	}
	return c.TLS.load()
}

// parse validates the options.
func (c *TCP) parse() (err error) {
	if c.send, err = unescape(c.Send); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if c.Expect != "" {
		c.expect, err = parsePattern(c.Expect)
	}
	return err
}

// Probe implements [Check].
func (c *TCP) Probe(ctx context.Context, t Target) error {
	conn, done, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer done()
	if t.secure(c.TLS) {
		if conn, err = handshake(ctx, conn, t.tlsConfig(c.TLS)); err != nil {
			return err
		}
	}
	if c.send != "" {
		if _, err := io.WriteString(conn, c.send); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	if c.expect != nil {
		return c.await(conn)
	}
	return nil
}

// Inherits implements [Inheriting].
func (c *TCP) Inherits(t *httptransport.Transport) ([]string, error) {
	var err error
	if (c.TLS == nil || !c.TLS.Off && c.TLS.ServerName == "") && t.TLS("") {
		err = t.CheckServerName()
	}
	return append(c.DialOptions(), c.TLS.inherits()...), err
}

// await reads until the response, which may come in pieces, is the expected one.
func (c *TCP) await(conn io.Reader) error {
	answer := make([]byte, 0, 512)
	for {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if c.expect.in(answer) {
			return nil
		}
		switch {
		case err != nil && len(answer) > 0:
			return &unexpectedError{answer, strconv.Quote(c.Expect), err}
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the connection was closed before %q was received", c.Expect)
		case err != nil:
			return fmt.Errorf("waiting for %q: %w", c.Expect, err)
		case len(answer) >= maxRead:
			return fmt.Errorf("%w in the first %d bytes", &unexpectedError{answer, strconv.Quote(c.Expect), nil}, maxRead)
		case len(answer) == cap(answer):
			answer = append(make([]byte, 0, 2*cap(answer)), answer...)
		}
	}
}

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	health tcp {
//		send   <text>
//		expect <text>|/<regexp>/
//		tls off|{
//			# as for http
//		}
//		# and the options of every check, as for http
//	}
func (c *TCP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d)
	valid := func() error { check := *c; return check.parse() }
	opts := c.Options()
	opts["send"] = caddyfileutil.Valid(caddyfileutil.Replaced(&c.Send), valid)
	opts["expect"] = caddyfileutil.Valid(caddyfileutil.String(&c.Expect), valid)
	opts["tls"] = TLSOption(&c.TLS)
	return caddyfileutil.Block(d, opts)
}

// Interface guards
var (
	_ Inheriting            = (*TCP)(nil)
	_ caddy.Provisioner     = (*TCP)(nil)
	_ caddyfile.Unmarshaler = (*TCP)(nil)
)
