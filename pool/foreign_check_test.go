// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() {
	caddy.RegisterModule(new(bareCheck))
	caddy.RegisterModule(new(forgetfulCheck))
	caddy.RegisterModule(new(noCheck))
}

// bareCheck is a check as another repository may have it: it embeds the base and
// nothing else.
type bareCheck struct{ healthcheck.Schedule }

func (*bareCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.bare", New: func() caddy.Module { return new(bareCheck) }}
}

func (*bareCheck) Probe(_ context.Context, t healthcheck.Target) error {
	if t.Address == "b:1" {
		return errBare
	}
	return nil
}

type bareError struct{}

func (bareError) Error() string { return "bare" }

var errBare = bareError{}

// forgetfulCheck has a Provision of its own that forgets the base's.
type forgetfulCheck struct{ bareCheck }

func (*forgetfulCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.forgetful", New: func() caddy.Module { return new(forgetfulCheck) }}
}

func (*forgetfulCheck) Provision(caddy.Context) error { return nil }

// noCheck is in the namespace of checks and is none.
type noCheck struct{}

func (*noCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.none", New: func() caddy.Module { return new(noCheck) }}
}

// A check that embeds the base and nothing else has the defaults of every check, with
// the guard and without it: down after 3 failures, 2s apart.
func TestCheckOfAnotherRepository(t *testing.T) {
	for _, name := range []string{"bare", "forgetful"} {
		for _, guard := range []string{"true", "false"} {
			t.Run(name+" guard "+guard, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := lbtest.NewProxy(t, proxy("wrr", `"backends":[{"dial":"a:1"},{"dial":"b:1"}],"guard":`+guard+`,"health":[{"check":"`+name+`"}]`),
						lbtest.Backends{"a:1": lbtest.Latency(0), "b:1": lbtest.Latency(0)})
					time.Sleep(7 * time.Second) // 4s, at most 10 % more, and the spread of the first probes
					for range 10 {
						if got, err := p.Get(); err != nil || got != "a:1" {
							t.Errorf("%s, %v; want a:1, since b:1 fails the check", got, err)
						}
					}
				})
			})
		}
	}
}

// What is no check is refused, instead of a panic.
func TestModuleThatIsNoCheck(t *testing.T) {
	_, err := lbtest.Load(t, nil, proxy("wrr", `"backends":[{"dial":"a:1"}],"health":[{"check":"none"}]`), nil)
	if err == nil || !strings.Contains(err.Error(), "none is not a health check") {
		t.Errorf("got %v", err)
	}
}
