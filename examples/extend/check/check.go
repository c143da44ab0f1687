// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package redischeck is a health check for Ballast from outside its repository: it asks
// a Redis server whether it is ready.
package redischeck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
)

func init() { caddy.RegisterModule(new(Redis)) }

// Redis is a health check that sends PING, and expects PONG: a server that loads its
// data, or has lost its primary, answers with an error.
type Redis struct {
	healthcheck.Schedule

	// Password is sent before, if the server needs one.
	Password string `json:"password,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.redis", New: func() caddy.Module { return new(Redis) }}
}

// Probe implements [healthcheck.Check].
func (c *Redis) Probe(ctx context.Context, t healthcheck.Target) error {
	conn, err := t.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	ask := func(want string, words ...string) error {
		command := fmt.Sprintf("*%d\r\n", len(words))
		for _, word := range words {
			command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := conn.Write([]byte(command)); err != nil {
			return err
		}
		line, err := answers.ReadSlice('\n') // at most 4 KB
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", want, err)
		}
		if got := strings.TrimSpace(string(line)); got != want {
			return errors.New(strings.TrimPrefix(got, "-"))
		}
		return nil
	}
	if c.Password != "" {
		if err := ask("+OK", "AUTH", c.Password); err != nil {
			return err
		}
	}
	return ask("+PONG", "PING")
}

// Inherits implements [healthcheck.Inheriting]: connections are made as the proxy does.
func (c *Redis) Inherits(*healthcheck.Transport) ([]string, error) { return c.DialOptions(), nil }

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	health redis {
//		password <text>
//		# and the options of every check
//	}
func (c *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the check
	options := c.Options()
	options["password"] = func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(&c.Password) {
			return d.ArgErr()
		}
		return nil
	}
	return options.Parse(d)
}

// Interface guards
var (
	_ healthcheck.Inheriting = (*Redis)(nil)
	_ caddy.Provisioner      = (*Redis)(nil)
	_ caddyfile.Unmarshaler  = (*Redis)(nil)
)
