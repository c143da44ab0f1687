// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// member is an instance of a fleet with a topic. Safe for concurrent use.
type member struct {
	*fleet.Fleet
	*fleettest.Map
	user     *fleet.User
	finished atomic.Int64 // calls of the store that have ended
	failed   atomic.Int64 // those with an error
}

// heartbeat is that of all members.
const heartbeat = 200 * time.Millisecond

// join adds an instance to a fleet. It leaves at the end of the test, or earlier by leave.
func join(t testing.TB, name, tokens string) *member {
	t.Helper()
	m := &member{Fleet: fleet.New(name)}
	m.Map = fleettest.Join(m.Fleet, "test")
	m.user = &fleet.User{Store: watchedStore{load(t, tokens), m}, Heartbeat: heartbeat}
	m.Start(m.user)
	t.Cleanup(m.leave)
	return m
}

func (m *member) leave() { m.Stop(m.user) }

// publish publishes records with keys of a prefix.
func (m *member) publish(prefix string, n int) {
	for i := range n {
		m.Set(m.Fleet, fmt.Sprint(prefix, " ", i), prefix, time.Hour)
	}
}

func (m *member) connected() bool { return m.Status().Store.Connected }

// watchedStore counts the calls that end.
type watchedStore struct {
	*Store
	m *member
}

// Open implements [fleet.Store].
func (s watchedStore) Open() (fleet.Conn, error) {
	c, err := s.Store.Open()
	return watchedConn{c, s.m}, err
}

type watchedConn struct {
	fleet.Conn
	m *member
}

func (c watchedConn) ended(err error) {
	if c.m.finished.Add(1); err != nil {
		c.m.failed.Add(1)
	}
}

// Beat implements [fleet.Conn].
func (c watchedConn) Beat(ctx context.Context, self fleet.Instance, ttl time.Duration, known uint64) (fleet.Beat, error) {
	b, err := c.Conn.Beat(ctx, self, ttl, known)
	c.ended(err)
	return b, err
}

// Push implements [fleet.Conn].
func (c watchedConn) Push(ctx context.Context, from string, records []fleet.Record) error {
	err := c.Conn.Push(ctx, from, records)
	c.ended(err)
	return err
}

// Changes implements [fleet.Conn].
func (c watchedConn) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (fleet.Changes, error) {
	changes, err := c.Conn.Changes(ctx, after, wait)
	c.ended(err)
	return changes, err
}
