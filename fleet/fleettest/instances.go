// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"context"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// beater is an instance that sends beats.
type beater struct {
	*suite
	fleet.Conn
	self fleet.Instance
	ttl  time.Duration
	beat fleet.Beat // the latest
	all  []string   // ids of the instances
}

func (s *suite) member(id string, ttl time.Duration) *beater {
	s.Helper()
	m := &beater{suite: s, Conn: s.connect(), self: fleet.Instance{ID: id, Name: "name of " + id, Zone: "zone of " + id, Version: "v1"}, ttl: ttl}
	m.beats()
	return m
}

// beats sends a beat.
func (m *beater) beats() {
	m.Helper()
	known := m.beat.Generation
	b, err := m.Beat(m.within(), m.self, m.ttl, known)
	if err != nil {
		m.Fatalf("Beat: %v", err)
	}
	switch {
	case b.Generation == 0 || b.Generation < known:
		m.Errorf("generation %d after %d", b.Generation, known)
	case b.Generation == known && b.Instances != nil:
		m.Errorf("the instances of a known generation, %v", b.Instances)
	case b.Generation != known && b.Instances == nil:
		m.Errorf("no instances of generation %d, known is %d", b.Generation, known)
	case m.beat.Incarnation != "" && b.Incarnation != m.beat.Incarnation, b.Incarnation == "":
		m.Errorf("incarnation %q after %q", b.Incarnation, m.beat.Incarnation)
	}
	if m.beat = b; b.Instances == nil {
		return
	}
	m.all = nil
	for _, i := range b.Instances {
		m.all = append(m.all, i.ID)
		if i.Name != "name of "+i.ID || i.Zone != "zone of "+i.ID || i.Version != "v1" {
			m.Errorf("instance %+v", i)
		}
	}
	slices.Sort(m.all)
}

// sees sends beats until exactly these instances live.
func (m *beater) sees(ids ...string) {
	m.Helper()
	slices.Sort(ids)
	for deadline := time.Now().Add(timeout); !slices.Equal(m.all, ids); {
		if time.Now().After(deadline) {
			m.Fatalf("%s sees %q, want %q", m.self.ID, m.all, ids)
		}
		pause()
		m.beats()
	}
}

func instances(s *suite) {
	a := s.member("a", time.Minute)
	a.sees("a")
	alone := a.beat.Generation
	b := s.member("b", time.Minute)
	b.sees("a", "b")
	a.sees("a", "b")
	if a.beat.Generation <= alone {
		s.Errorf("generation %d after another instance has joined, %d before", a.beat.Generation, alone)
	}
	both := a.beat.Generation
	if err := b.Leave(s.within(), "b"); err != nil {
		s.Errorf("Leave: %v", err)
	}
	a.sees("a")
	if a.beat.Generation <= both {
		s.Errorf("generation %d after another instance has left, %d before", a.beat.Generation, both)
	}
	if err := b.Leave(s.within(), "nobody"); err != nil {
		s.Errorf("Leave of an unknown instance: %v", err)
	}
	a.beats()
}

func reported(s *suite) {
	a := s.member("a", time.Minute)
	v := &view{suite: s, conn: a.Conn}
	v.all()
	for v.next(10 * time.Millisecond); v.joined; v.next(10 * time.Millisecond) {
		v.joined = false
		a.beats()
	}
	b := s.member("b", time.Minute)
	v.until("instance that joins", func() bool { return v.joined })
	a.sees("a", "b")
	v.joined = false
	if err := b.Leave(s.within(), "b"); err != nil {
		s.Errorf("Leave: %v", err)
	}
	v.until("instance that leaves", func() bool { return v.joined })
	a.sees("a")
}

func dies(s *suite) {
	a, b := s.member("a", time.Minute), s.member("b", 500*time.Millisecond)
	b.sees("a", "b")
	a.sees("a", "b")
	a.sees("a")
	b.beats()
	b.sees("a", "b")
	a.sees("a", "b")
}

func acknowledges(s *suite) {
	a, b := s.member("a", time.Minute), s.member("b", time.Minute)
	a.sees("a", "b")
	b.sees("a", "b")
	if a.beat.Acknowledged >= a.beat.Generation {
		s.Errorf("generation %d is acknowledged, although no instance has acknowledged %d", a.beat.Acknowledged, a.beat.Generation)
	}
	a.self.Acknowledged = a.beat.Generation
	a.beats()
	if a.beat.Acknowledged >= a.beat.Generation {
		s.Errorf("generation %d is acknowledged before b has", a.beat.Acknowledged)
	}
	b.self.Acknowledged = b.beat.Generation
	b.beats()
	for deadline := time.Now().Add(timeout); a.beat.Acknowledged < a.beat.Generation; {
		if time.Now().After(deadline) {
			s.Fatalf("only generation %d of %d is acknowledged after all have", a.beat.Acknowledged, a.beat.Generation)
		}
		pause()
		a.beats()
		b.beats()
	}
}

// canceled tests that calls return when their context has ended, with or without an error, and that
// the connection works afterwards.
func canceled(s *suite) {
	v, c := s.read(), s.connect()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = v.conn.Changes(ctx, v.cursor, time.Hour)
		_, _ = v.conn.All(ctx, func([]fleet.Record) {})
		_ = c.Push(ctx, "pusher", []fleet.Record{rec("k", 1, "v", time.Hour)})
		_, _ = c.Beat(ctx, fleet.Instance{ID: "a", Name: "name of a", Zone: "zone of a", Version: "v1"}, time.Minute, 0)
		_ = c.Leave(ctx, "a")
	}()
	pause()
	cancel()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.Fatalf("the calls do not return within %v after their context has ended", timeout)
	}
	s.push(c, rec("k2", 1, "after", time.Minute))
	v.until("change", func() bool { return v.value("k2") == "after" })
}
