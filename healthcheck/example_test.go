// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
)

// Banner is a health check: the server must send a line on each new connection.
type Banner struct{ healthcheck.Schedule }

// CaddyModule returns the Caddy module information.
func (*Banner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.banner", New: func() caddy.Module { return new(Banner) }}
}

// Probe implements [healthcheck.Check].
func (*Banner) Probe(ctx context.Context, t healthcheck.Target) error {
	conn, err := t.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// A check that embeds the Schedule has the options and the defaults of every check.
func ExampleSchedule() {
	check := new(Banner)
	err := check.UnmarshalCaddyfile(caddyfile.NewTestDispenser("banner {\n interval 5s\n fails 2\n}"))
	if err == nil {
		err = check.Provision(caddy.Context{})
	}
	fmt.Println(err, time.Duration(check.Interval), time.Duration(check.Timeout), check.Fails, check.Passes)
	// Output: <nil> 5s 1s 2 2
}
