// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/sticky"
)

func init() { caddy.RegisterModule(new(faulty)) }

// faulty is the store in memory with a fault that the environment names.
type faulty struct{}

func (*faulty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.faulty", New: func() caddy.Module { return new(faulty) }}
}

func (*faulty) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	m := new(sticky.Memory)
	return m.UnmarshalCaddyfile(d)
}

func (*faulty) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	if os.Getenv("FAULT") == "scopes" {
		scope = "one"
	}
	if os.Getenv("FAULT") == "lifetimes" {
		l = sticky.Lifetimes{Idle: 1 << 50}
	}
	s, err := (&sticky.Memory{MaxEntries: 100_000}).Open(scope, l)
	return &sessions{s}, err
}

type sessions struct{ sticky.Sessions }

func (s *sessions) BindIfAbsent(ctx context.Context, key sticky.Key, b sticky.Binding) (sticky.Binding, error) {
	if os.Getenv("FAULT") == "loser" {
		_, err := s.Sessions.BindIfAbsent(ctx, key, b)
		return b, err
	}
	return s.Sessions.BindIfAbsent(ctx, key, b)
}

func (s *sessions) Touch(ctx context.Context, key sticky.Key, seen int64) error {
	if os.Getenv("FAULT") == "touch" {
		return nil
	}
	return s.Sessions.Touch(ctx, key, seen)
}

func (s *sessions) Move(ctx context.Context, key sticky.Key, from sticky.ID, to sticky.Binding) (sticky.Binding, error) {
	if os.Getenv("FAULT") == "move" { // whatever the session is bound to
		if b, ok, _ := s.Get(ctx, key); ok {
			from = b.Backend
		}
	}
	return s.Sessions.Move(ctx, key, from, to)
}

func (s *sessions) Forget(ctx context.Context, backend sticky.ID) error {
	if os.Getenv("FAULT") == "forget" {
		return nil
	}
	return s.Sessions.Forget(ctx, backend)
}

func (s *sessions) Close() error {
	if os.Getenv("FAULT") == "leak" {
		go func() { select {} }()
	}
	return s.Sessions.Close()
}

// The suite finds each of these faults, and none in a store without, that has no counts.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv("STORE") != "" { // in the process that this test starts
		if os.Getenv("FAULT") != "" {
			patience = time.Second
		}
		Run(t, Store{Caddyfile: "faulty"})
		return
	}
	for fault, want := range map[string]string{
		"": "", "scopes": "/scopes", "lifetimes": "/lifetimes", "loser": "BindIfAbsent of a session that is bound",
		"touch": "/touch", "move": "Move from a backend that the session is not bound to", "forget": "/forget", "leak": "goroutines are left",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaultsAreFound$")
		cmd.Env = append(os.Environ(), "STORE=faulty", "FAULT="+fault)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (want != "") || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want %q in\n%s", fault, err, want, out)
		}
	}
}
