// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"context"
	"net"
	"syscall"
	"testing"
)

// The kernel sends keep-alive probes on connections to backends at the interval of the option, or none.
func TestKeepAlive(t *testing.T) {
	s := newServer(t, "a", nil)
	for option, want := range map[string]int{"": 15, `"keepalive":"40s"`: 40, `"keepalive":-1`: 0} {
		f, err := load(t, to("", s), option)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := f.handler.dialer.DialContext(context.Background(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var on, idle, interval int
		_ = raw.Control(func(fd uintptr) {
			on, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			idle, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			interval, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
		})
		if (on != 0) != (want > 0) || want > 0 && (idle != want || interval != want) {
			t.Errorf("%q: keep-alive %d, idle %d, interval %d, want %d", option, on, idle, interval, want)
		}
		_ = conn.Close()
		f.Close()
	}
}
