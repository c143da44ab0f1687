// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backendconn

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// States of include/net/tcp_states.h.
const (
	linuxClose     = 7
	linuxCloseWait = 8
)

// tcpStateOf returns the state of a TCP connection.
func tcpStateOf(fd uintptr) tcpState {
	n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return tcpOther
	}
	var info [4]byte // the first bytes of struct tcp_info; the first is the state
	binary.NativeEndian.PutUint32(info[:], uint32(n))
	switch info[0] {
	case linuxClose:
		return tcpClosed
	case linuxCloseWait:
		return tcpCloseWait
	}
	return tcpOther
}

// unacknowledged returns how many of the sent bytes the backend has not acknowledged; 0 if that is unknown.
func unacknowledged(fd uintptr) int64 {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return int64(n)
}
