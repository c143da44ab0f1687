// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Connections outlive the configuration that made them, over several reloads: they go on, count for limits and
// drains of the new one, end with their backend where on_down says so, and leave nothing behind.
func TestReload(t *testing.T) {
	n := newNetwork("a:1", "b:1")
	synctest.Test(t, func(t *testing.T) {
		config := at(`"max_requests":4,"on_down":"close",`+checked, "a:1", "b:1")
		f := n.load(t, config, "")
		time.Sleep(1500 * time.Millisecond)
		var open []*caller
		of := make(map[string][]*caller)
		for range 4 { // two of each
			c := f.call()
			id := c.line()
			open, of[id] = append(open, c), append(of[id], c)
		}
		for range 3 {
			next := n.load(t, config, "")
			f.Close()
			f = next
			time.Sleep(1500 * time.Millisecond)
			for _, c := range open {
				if got := c.say("hello"); got != "hello" {
					t.Fatalf("after a reload: got %q", got)
				}
			}
		}
		for id, c := range of {
			if b := f.backend(t, id); b.InFlight() != len(c) || b.Traffic.Totals().Connected != 2 {
				t.Errorf("%s has %d in flight, and %+v", id, b.InFlight(), b.Traffic.Totals())
			}
		}
		var more []*caller
		for range 4 { // which is the rest of the limit
			c := f.call()
			c.line()
			more = append(more, c)
		}
		c := f.call()
		if <-c.ended; c.err == nil {
			t.Error("the limit of the pool does not know the connections of earlier configurations")
		}
		setRole(t, "a:1", false)
		time.Sleep(2 * time.Second)
		for _, c := range of["a:1"] {
			if !c.over() {
				t.Error("a connection of an earlier configuration is left after its backend went down")
			}
		}
		for _, c := range append(of["b:1"], more...) {
			_ = c.hangUp()
		}
		for id := range of {
			b := f.backend(t, id)
			if n := b.Traffic.Totals(); b.InFlight() != 0 || b.Taken() != 0 || n.Connected != n.Ended || n.Connected != 4 {
				t.Errorf("%s has %d in flight, %d slots taken, and %+v", id, b.InFlight(), b.Taken(), n)
			}
		}
	})
	lbtest.NoLeaks(t)
}

// A reload that removes a backend, or the pool, cuts nothing; and one in the midst of connecting loses nothing.
func TestReloadThatRemoves(t *testing.T) {
	n := newNetwork("a:1", "b:1")
	synctest.Test(t, func(t *testing.T) {
		f := n.load(t, at("", "a:1"), "")
		c := f.call()
		c.line()
		f.handler.dialer = late{n, time.Second}
		connecting := f.call()
		synctest.Wait()
		next := n.load(t, at("", "b:1"), "")
		f.Close()
		if got := connecting.line(); got != "a:1" {
			t.Errorf("the connection that was being made: got %q", got)
		}
		other := next.call()
		if got := other.line(); got != "b:1" {
			t.Errorf("a new one: got %q", got)
		}
		next.Close()
		if pool.Current("db") != nil {
			t.Error("the pool is left")
		}
		for _, c := range []*caller{c, connecting, other} {
			if got := c.say("hello"); got != "hello" {
				t.Errorf("without the pool: got %q", got)
			}
			if err := c.hangUp(); err != nil {
				t.Error(err)
			}
		}
	})
	lbtest.NoLeaks(t)
}
