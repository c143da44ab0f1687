// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

const heartbeat = time.Second

// instance is one instance of a fleet, with a topic.
type instance struct {
	*fleet.Fleet
	*fleettest.Map
	link *fleettest.Link
	user *fleet.User
	logs *observer.ObservedLogs
}

// start starts an instance. It stops at the end of the test.
func start(t *testing.T, m *fleettest.Memory, name string) *instance {
	t.Helper()
	i := prepare(m, name)
	i.Start(i.user)
	t.Cleanup(i.stop)
	return i
}

// prepare returns an instance that has not started.
func prepare(m *fleettest.Memory, name string) *instance {
	core, logs := observer.New(zap.InfoLevel)
	i := &instance{Fleet: fleet.New(name), link: m.Link(), logs: logs}
	i.Map = fleettest.Join(i.Fleet, "test/records")
	i.user = &fleet.User{Store: i.link, Heartbeat: heartbeat, Logger: zap.New(core)}
	return i
}

func (i *instance) stop() { i.Stop(i.user) }

// set sets a value for an hour.
func (i *instance) set(key, value string) { i.Set(i.Fleet, key, value, time.Hour) }

// fleetOf starts n instances, and waits until their shares have settled.
func fleetOf(t *testing.T, m *fleettest.Memory, n int) (all []*instance) {
	t.Helper()
	for i := range n {
		all = append(all, start(t, m, string(rune('a'+i))))
	}
	within(t, 3*heartbeat, "settled fleet", func() bool {
		for _, i := range all {
			if i.Instances().Len() != n || !i.Instances().Settled() {
				return false
			}
		}
		return true
	})
	return all
}

// within fails the test unless a condition holds within a time.
func within(t *testing.T, most time.Duration, what string, happens func() bool) {
	t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if happens() {
			return
		}
		if time.Since(began) >= most {
			t.Fatalf("no %s within %v", what, most)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// logged returns how often a message was logged.
func (i *instance) logged(message string) int { return i.logs.FilterMessage(message).Len() }

// has reports whether all instances have this value of a key.
func has(all []*instance, key, value string) bool {
	for _, i := range all {
		if got, ok := i.Get(key); !ok || got != value {
			return false
		}
	}
	return true
}
