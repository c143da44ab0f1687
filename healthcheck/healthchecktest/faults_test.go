// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthchecktest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
)

func init() {
	caddy.RegisterModule(new(faulty))
	caddy.RegisterModule(new(lenient))
	caddy.RegisterModule(new(unprovisioned))
}

// faulty is a check with a fault that the environment names.
type faulty struct{ healthcheck.Schedule }

func (*faulty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.faulty", New: func() caddy.Module { return new(faulty) }}
}

func (c *faulty) Probe(ctx context.Context, t healthcheck.Target) error {
	fault := os.Getenv("FAULT")
	if fault == "hangs" {
		ctx = context.Background()
	}
	conn, err := t.Dial(ctx)
	if err != nil {
		return err
	}
	if fault != "leaks a connection" {
		defer conn.Close()
	}
	if fault == "leaks a goroutine" {
		go func() { select {} }()
	}
	if fault == "believes anything" {
		return nil
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "well\n" {
		err = errors.New("ill")
	}
	return err
}

// lenient accepts unknown options.
type lenient struct{ faulty }

func (*lenient) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.lenient", New: func() caddy.Module { return new(lenient) }}
}

func (*lenient) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// unprovisioned has no defaults.
type unprovisioned struct{ faulty }

func (*unprovisioned) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.unprovisioned", New: func() caddy.Module { return new(unprovisioned) }}
}

func (*unprovisioned) Provision(caddy.Context) error { return nil }

// The suite detects each of these faults, and passes without a fault.
func TestFaultsAreFound(t *testing.T) {
	if name := os.Getenv("CHECK"); name != "" { // in the process that this test starts
		if os.Getenv("FAULT") != "" {
			hangTimeout = 200 * time.Millisecond
		}
		Run(t, Check{Caddyfile: name, Serve: says("well\n"), Unhealthy: says("dead\n")})
		return
	}
	for _, tt := range []struct{ check, fault, want string }{
		{"faulty", "", ""},
		{"faulty", "hangs", "the probe does not end with its context"},
		{"faulty", "leaks a connection", "connections are left open"},
		{"faulty", "leaks a goroutine", "goroutines are left"},
		{"faulty", "believes anything", "an unhealthy backend that answers: <nil>"},
		{"lenient", "", "accepts \"lenient"},
		{"unprovisioned", "", "defaults are missing"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaultsAreFound$")
		cmd.Env = append(os.Environ(), "CHECK="+tt.check, "FAULT="+tt.fault)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (tt.want != "") || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s that %q: %v, want %q in\n%s", tt.check, tt.fault, err, tt.want, out)
		}
	}
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}
