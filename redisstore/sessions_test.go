// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
	"github.com/ballast-lb/caddy-ballast/sticky"
	"github.com/ballast-lb/caddy-ballast/sticky/storetest"
)

// loadSessions returns the session store of Caddyfile tokens, as one configuration has it.
func loadSessions(t testing.TB, tokens string) *Sessions {
	t.Helper()
	s := new(Sessions)
	err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
	if err == nil {
		err = s.Provision(caddy.Context{Context: context.Background()})
	}
	if err != nil {
		t.Fatalf("%s: %v", tokens, err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

var lifetimes = sticky.Lifetimes{Idle: time.Hour}

// Without a Redis, sessions are what they are in memory. (With one, a session of a backend that is
// forgotten may come back from another instance, which the suite does not know.)
func TestSessionsConformWithoutRedis(t *testing.T) {
	storetest.Run(t, storetest.Store{Caddyfile: "redis 127.0.0.1:1 {\nmax_entries 200000\n}"})
}

// A session of one instance is known to another. Two configurations that differ are two instances
// here, each with a table of its own.
func TestRedisSessionsAreShared(t *testing.T) {
	s := startServer(t)
	one := loadSessions(t, fmt.Sprintf("redis %s {\ntimeout 5s\n}", s.address))
	two := loadSessions(t, fmt.Sprintf("redis %s {\ntimeout 4s\n}", s.address))
	a, err1 := one.Open("web\nheader x-user", lifetimes)
	b, err2 := two.Open("web\nheader x-user", lifetimes)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	defer a.Close()
	defer b.Close()
	now := time.Now().Unix()
	bind := func(key sticky.Key) {
		t.Helper()
		if _, _, err := a.Get(call(t), key); err != nil {
			t.Fatal(err)
		}
		if _, err := a.BindIfAbsent(call(t), key, sticky.Binding{Backend: sticky.ID(key), Issued: now, Seen: now}); err != nil {
			t.Fatal(err)
		}
	}
	known := func(key sticky.Key) bool {
		got, ok, err := b.Get(call(t), key)
		return ok && err == nil && got.Backend == sticky.ID(key)
	}
	// Until the instances agree on the secret of the keys, they do not find each other's sessions.
	key := sticky.Key(0)
	eventually(t, "the instances agree on a secret", func() bool {
		key++
		bind(key)
		return key > 20 && known(key-20) // time to arrive
	})
	for key := range sticky.Key(50) {
		bind(key + 1_000_000)
		eventually(t, "the other instance has the session", func() bool { return known(key + 1_000_000) })
	}
	keys, _ := s.do("KEYS", "*").([]any)
	for _, key := range keys {
		if !strings.HasPrefix(key.(string), "{ballast-sessions}:") {
			t.Errorf("the key %s has another prefix", key)
		}
	}
}

// A configuration that is only validated connects to nothing, and leaves nothing behind.
func TestSessionsAreQuietUntilUsed(t *testing.T) {
	leaks := conformance.Goroutines(t)
	p := startProxy(t, "127.0.0.1:1")
	s := loadSessions(t, "redis "+p.address)
	sessions, err := s.Open("web\nheader x-user", lifetimes)
	if err != nil {
		t.Fatal(err)
	}
	if err := sessions.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Cleanup(); err != nil {
		t.Error(err)
	}
	s.begin() // late
	if n := p.accepted.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
	p.close()
	leaks(soon)
}

func TestSessionsCaddyfile(t *testing.T) {
	for tokens, want := range map[string]string{
		"redis {\n max_entries 10\n}": "max_entries must be a whole number from 1024 to 100000000",
		"redis {\n max_records 10\n}": "unrecognized option \"max_records\"",
		"redis nowhere":               "address must be host:port",
	} {
		err := new(Sessions).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: got %v, want %q with file and line", tokens, err, want)
		}
	}
	if s := loadSessions(t, "redis"); s.Prefix != "ballast-sessions" || s.MaxEntries != 1_000_000 {
		t.Errorf("the defaults are %+v", s)
	}
}
