// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package storetest tests what every store of sessions must do. The store in memory
// passes it, and stores of other repositories should.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, storetest.Store{Caddyfile: "redis " + server(t)})
//	}
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
	"github.com/ballast-lb/caddy-ballast/sticky"
)

// Store is a store under test. Its module must be registered.
type Store struct {
	// Caddyfile is what follows `store` in the policy: the name of the store, its
	// arguments, and a block with all of its options. It must have room for 10,000
	// sessions. Required.
	Caddyfile string
}

const namespace = "ballast.sessions"

// lifetimes are longer than the tests take.
var lifetimes = sticky.Lifetimes{Idle: 1000 * time.Second, Absolute: 5000 * time.Second}

// patience is for how long a call may take: longer is never.
var patience = 10 * time.Second

// Run tests the store: its configuration, what each operation does, alone and many at a
// time, also by two instances, and that nothing is left behind. Run it with the race
// detector, and not in parallel with other tests.
func Run(t *testing.T, s Store) {
	m := conformance.Module{Namespace: namespace, Caddyfile: s.Caddyfile}
	m.Run(t)
	leaks := conformance.Goroutines(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"bind", bind}, {"move", move}, {"touch", touch}, {"lifetimes", ends}, {"forget", forget}, {"scopes", scopes},
		{"instances", instances}, {"one binding wins", oneWins}, {"as a map does", asMap}, {"concurrent use", concurrent},
		{"a call that is called off", calledOff}, {"counts", counts},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := &suite{Module: m, scope: fmt.Sprintf("%s %x", t.Name(), rand.Uint64())}
			u.Sessions = u.open(t, u.scope)
			test.run(t, u)
			u.close(t, u.Sessions)
		})
	}
	leaks(patience)
}

// suite is the store, and the sessions of a scope that no other test has.
type suite struct {
	conformance.Module
	sticky.Sessions
	scope string
}

// open returns the sessions of a scope as another instance has them.
func (u *suite) open(t *testing.T, scope string) sticky.Sessions {
	t.Helper()
	mod, _ := u.Load(t, u.Caddyfile)
	store, ok := mod.(sticky.Store)
	if !ok {
		t.Fatalf("%T is no sticky.Store", mod)
	}
	sessions, err := store.Open(scope, lifetimes)
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

func (u *suite) close(t *testing.T, s sticky.Sessions) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// within returns the context of a call.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// now returns the time as sessions have it.
func now() int64 { return time.Now().Unix() }

// to returns the binding of a session that begins now.
func to(backend sticky.ID) sticky.Binding {
	return sticky.Binding{Backend: backend, Issued: now(), Seen: now()}
}

// expect checks what a session is bound to.
func expect(t *testing.T, s sticky.Sessions, key sticky.Key, want sticky.Binding, bound bool) {
	t.Helper()
	got, ok, err := s.Get(within(t), key)
	switch {
	case err != nil || ok != bound:
		t.Errorf("Get of session %d: bound %v (%v), want %v", key, ok, err, bound)
	case ok && got != want:
		t.Errorf("Get of session %d: %+v, want %+v", key, got, want)
	}
}

// won checks what a call said that a session is bound to.
func won(t *testing.T, call string, got sticky.Binding, err error, want sticky.Binding) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("%s: %+v (%v), want %+v", call, got, err, want)
	}
}

func mustBind(t *testing.T, s sticky.Sessions, key sticky.Key, b sticky.Binding) {
	t.Helper()
	got, err := s.BindIfAbsent(within(t), key, b)
	won(t, fmt.Sprintf("BindIfAbsent of session %d", key), got, err, b)
}

func bind(t *testing.T, u *suite) {
	for _, key := range []sticky.Key{0, 1, 1 << 63, 1<<64 - 1} {
		expect(t, u, key, sticky.Binding{}, false)
		first := sticky.Binding{Backend: 1<<64 - 1, Issued: now() - 500, Seen: now() - 100}
		mustBind(t, u, key, first)
		expect(t, u, key, first, true)
		got, err := u.BindIfAbsent(within(t), key, to(2))
		won(t, "BindIfAbsent of a session that is bound", got, err, first)
		expect(t, u, key, first, true)
	}
}

func move(t *testing.T, u *suite) {
	first := to(1)
	got, err := u.Move(within(t), 1, 7, first)
	won(t, "Move of a session that is gone", got, err, first)
	second := to(2)
	second.Issued -= 50 // of the session
	got, err = u.Move(within(t), 1, 1, second)
	won(t, "Move", got, err, second)
	expect(t, u, 1, second, true)
	got, err = u.Move(within(t), 1, 1, to(3))
	won(t, "Move from a backend that the session is not bound to", got, err, second)
	expect(t, u, 1, second, true)
}

func touch(t *testing.T, u *suite) {
	b := sticky.Binding{Backend: 1, Issued: now() - 300, Seen: now() - 200}
	mustBind(t, u, 1, b)
	seen := func(at int64) {
		t.Helper()
		if err := u.Touch(within(t), 1, at); err != nil {
			t.Errorf("Touch: %v", err)
		}
	}
	for _, step := range []struct{ at, want int64 }{{b.Seen + 100, b.Seen + 100}, {b.Seen + 50, b.Seen + 100}, {b.Seen + 200, b.Seen + 200}} {
		seen(step.at)
		got := b
		got.Seen = step.want
		expect(t, u, 1, got, true)
	}
	if err := u.Touch(within(t), 2, now()); err != nil {
		t.Errorf("Touch of a session that is gone: %v", err)
	}
	expect(t, u, 2, sticky.Binding{}, false)
}

// ends checks that sessions end by their binding's times, which here are long ago
// instead of soon.
func ends(t *testing.T, u *suite) {
	idle := sticky.Binding{Backend: 1, Issued: now() - 3000, Seen: now() - 2500}
	old := sticky.Binding{Backend: 1, Issued: now() - 6000, Seen: now()}
	for n, dead := range []sticky.Binding{idle, old} {
		key := sticky.Key(10 * n)
		for step := range sticky.Key(4) {
			if _, err := u.BindIfAbsent(within(t), key+step, dead); err != nil {
				t.Errorf("BindIfAbsent: %v", err)
			}
		}
		expect(t, u, key, sticky.Binding{}, false)
		b := to(2)
		mustBind(t, u, key+1, b)
		expect(t, u, key+1, b, true)
		got, err := u.Move(within(t), key+2, 9, b)
		won(t, "Move of a session that has ended", got, err, b)
		if err := u.Touch(within(t), key+3, now()); err != nil {
			t.Errorf("Touch of a session that has ended: %v", err)
		}
		expect(t, u, key+3, sticky.Binding{}, false)
	}
	alive := sticky.Binding{Backend: 1, Issued: now() - 4000, Seen: now() - 900}
	mustBind(t, u, 100, alive)
	expect(t, u, 100, alive, true)
}

func forget(t *testing.T, u *suite) {
	const sessions = 1000
	b := []sticky.Binding{to(0), to(1), to(2)}
	for key := range sticky.Key(sessions) {
		mustBind(t, u, key, b[key%3])
	}
	if err := u.Forget(within(t), 1); err != nil {
		t.Fatalf("Forget: %v", err)
	}
	if err := u.Forget(within(t), 99); err != nil {
		t.Errorf("Forget of a backend without sessions: %v", err)
	}
	for key := range sticky.Key(sessions) {
		expect(t, u, key, b[key%3], key%3 != 1)
	}
	again := to(1)
	mustBind(t, u, 1, again)
	expect(t, u, 1, again, true)
}

func scopes(t *testing.T, u *suite) {
	other := u.open(t, u.scope+"\nheader x-client")
	b := to(1)
	mustBind(t, u, 1, b)
	expect(t, other, 1, sticky.Binding{}, false)
	c := to(2)
	mustBind(t, other, 1, c)
	expect(t, u, 1, b, true)
	if err := other.Forget(within(t), 1); err != nil {
		t.Error(err)
	}
	expect(t, u, 1, b, true)
	u.close(t, other)
}

// asMap does what comes, and checks that the store does what a map would.
func asMap(t *testing.T, u *suite) {
	rng := rand.New(rand.NewPCG(1, 2))
	model := make(map[sticky.Key]sticky.Binding)
	for step := range 3000 {
		key, b := sticky.Key(rng.IntN(50)), sticky.Binding{Backend: sticky.ID(rng.IntN(4)), Issued: now() - 200, Seen: now() - int64(rng.IntN(100))}
		old, bound := model[key]
		switch op := rng.IntN(100); {
		case op < 30:
			expect(t, u, key, old, bound)
		case op < 60:
			if !bound {
				old, model[key] = b, b
			}
			got, err := u.BindIfAbsent(within(t), key, b)
			won(t, "BindIfAbsent", got, err, old)
		case op < 75:
			if err := u.Touch(within(t), key, b.Seen); err != nil {
				t.Error(err)
			}
			if bound {
				old.Seen = max(old.Seen, b.Seen)
				model[key] = old
			}
		case op < 97:
			from := sticky.ID(rng.IntN(4))
			if !bound || old.Backend == from {
				old, model[key] = b, b
			}
			got, err := u.Move(within(t), key, from, b)
			won(t, "Move", got, err, old)
		default:
			if err := u.Forget(within(t), b.Backend); err != nil {
				t.Error(err)
			}
			for k, o := range model {
				if o.Backend == b.Backend {
					delete(model, k)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("at step %d", step)
		}
	}
}

// calledOff checks that calls return when their context has ended, with or without an
// error, and that the store works afterwards.
func calledOff(t *testing.T, u *suite) {
	b := to(1)
	mustBind(t, u, 1, b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = u.Get(ctx, 1)
		_, _ = u.BindIfAbsent(ctx, 1, b)
		_ = u.Touch(ctx, 1, b.Seen)
		_, _ = u.Move(ctx, 2, 1, b)
		_ = u.Forget(ctx, 7)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("calls go on though their context has ended")
	}
	expect(t, u, 1, b, true)
}

// counts checks what a store counts, if it does.
func counts(t *testing.T, u *suite) {
	c, ok := u.Sessions.(sticky.Counter)
	if !ok {
		return
	}
	same, other := u.open(t, u.scope), u.open(t, u.scope+" other")
	if c.Table() != same.(sticky.Counter).Table() {
		t.Error("Table differs between Sessions that have the same sessions")
	}
	if c.Table() == other.(sticky.Counter).Table() {
		t.Error("Table is the same for Sessions of two scopes")
	}
	for key := range sticky.Key(90) {
		mustBind(t, u, key, to(sticky.ID(key%3)))
	}
	if got, err := u.Move(within(t), 0, 0, to(1)); err != nil || got.Backend != 1 {
		t.Errorf("Move: %+v (%v)", got, err)
	}
	if err := u.Forget(within(t), 2); err != nil {
		t.Error(err)
	}
	for id, want := range []int{29, 31, 0} {
		if got := c.Count(sticky.ID(id)); got != want {
			t.Errorf("backend %d has %d sessions, want %d", id, got, want)
		}
	}
	if n := c.Stats().Entries; n != nil && *n != 60 {
		t.Errorf("%d sessions, want 60", *n)
	}
	u.close(t, same)
	u.close(t, other)
}
