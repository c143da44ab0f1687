// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"errors"
	"syscall"
	"time"

	"github.com/mholt/caddy-l4/layer4"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// errLeft means that the client has left before a backend was connected.
var errLeft = errors.New("the client has left")

// watchLeaving calls left when it is certain that a waiting client has left, until stop is called. It consumes
// no bytes. A client that has sent something and then closed its half may still wait for the answer, so it
// counts as present. Only connections without wrappers can be watched; for others, left is never called.
func watchLeaving(client *layer4.Connection, left func()) (stop func()) {
	conn, ok := raw(client.Conn)
	if !ok || gone == nil {
		return func() {}
	}
	fd, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return func() {}
	}
	sent := len(client.MatchingBytes()) > 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer panics.Recover("watching a client that waits")
		if fd.Read(func(fd uintptr) bool { return gone(fd, sent) }) == nil {
			left()
		}
	}()
	return func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = conn.SetReadDeadline(time.Time{})
	}
}
