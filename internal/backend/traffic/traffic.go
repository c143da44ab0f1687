// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package traffic counts the connections to a backend that carry no HTTP, and their bytes.
package traffic

import (
	"sync/atomic"
	"time"
)

// Connections counts connections. The counters fill a cache line. Safe for concurrent use. Each counter is
// consistent by itself; several together are not.
type Connections struct {
	begun, connected, ended, early atomic.Int64
	connecting, open               atomic.Int64 // sums of times, in nanoseconds
	sent, received                 atomic.Int64
}

// Begin counts a connection that is about to be made.
func (c *Connections) Begin() { c.begun.Add(1) }

// Connect counts a connection that was made in the given time.
func (c *Connections) Connect(took time.Duration) {
	c.connecting.Add(int64(took))
	c.connected.Add(1)
}

// End counts the end of a connection that was made and lasted for the given time. early reports that the
// backend ended it before it had sent anything.
func (c *Connections) End(lasted time.Duration, early bool) {
	c.open.Add(int64(lasted))
	c.ended.Add(1)
	if early {
		c.early.Add(1)
	}
}

// Send counts bytes that were written to the backend.
func (c *Connections) Send(n int64) { c.sent.Add(n) }

// Receive counts bytes that were read from the backend and written to the client.
func (c *Connections) Receive(n int64) { c.received.Add(n) }

// ConnectionTotals are the counts of the connections of one backend since its state was created.
type ConnectionTotals struct {
	// Begun is the number of connections that were begun, Connected of those that were made, and
	// Ended of those of them that have ended.
	Begun, Connected, Ended int64
	// Early is how many of Ended the backend ended at once, before it had sent anything.
	Early int64
	// Connecting is the sum of the times to connect, and Open that of the durations of Ended.
	Connecting, Open time.Duration
	// Sent and Received are bytes, to and from the backend.
	Sent, Received int64
}

// Add adds the counts of another backend.
func (t *ConnectionTotals) Add(other ConnectionTotals) {
	t.Begun, t.Connected, t.Ended, t.Early = t.Begun+other.Begun, t.Connected+other.Connected, t.Ended+other.Ended, t.Early+other.Early
	t.Connecting, t.Open = t.Connecting+other.Connecting, t.Open+other.Open
	t.Sent, t.Received = t.Sent+other.Sent, t.Received+other.Received
}

// Totals returns the counts so far.
func (c *Connections) Totals() ConnectionTotals {
	t := ConnectionTotals{Ended: c.ended.Load(), Early: c.early.Load(), Open: time.Duration(c.open.Load())}
	t.Connected, t.Connecting = c.connected.Load(), time.Duration(c.connecting.Load())
	t.Begun = c.begun.Load()
	t.Sent, t.Received = c.sent.Load(), c.received.Load()
	return t
}
