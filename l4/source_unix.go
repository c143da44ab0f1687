// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package l4

import (
	"io"
	"os"
	"syscall"
)

// useRaw makes the source wait for bytes without a buffer.
func (s *source) useRaw(conn syscall.Conn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	s.raw = raw
	s.try = func(fd uintptr) bool {
		buf := buffers.Get().(*[bufferSize]byte)
		n, err := syscall.Read(int(fd), buf[:])
		for err == syscall.EINTR {
			n, err = syscall.Read(int(fd), buf[:])
		}
		if err == syscall.EAGAIN {
			buffers.Put(buf)
			return false
		}
		s.buf, s.n, s.err = buf, max(n, 0), nil
		switch {
		case err != nil:
			s.err = os.NewSyscallError("read", err)
		case n == 0:
			s.err = io.EOF
		}
		return true
	}
}

// gone reports whether the peer has left: it has reset the connection, or closed it without having sent
// anything. sent reports whether bytes of the peer were read before. gone consumes no bytes.
var gone = func(fd uintptr, sent bool) bool {
	for {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			return true
		case n == 0:
			return !sent
		}
		failed, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		return err == nil && failed != 0
	}
}
