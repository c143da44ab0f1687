// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"net"
	"sync"
	"syscall"
)

// source reads from a connection. If that is a socket without a wrapper, it takes a buffer only when there is
// something to read, so that idle connections hold none. Only one goroutine may use it.
type source struct {
	conn net.Conn
	raw  syscall.RawConn       // nil if a buffer must be held while read waits
	try  func(fd uintptr) bool // reads if there is something to read

	buf *[bufferSize]byte // of the latest read; nil after release
	n   int
	err error
}

// bufferSize is the size of a buffer in bytes. A read that fills it shows that more is coming, so that splicing
// is worth its cost.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func newSource(conn net.Conn) *source {
	s := &source{conn: conn}
	if conn, ok := raw(conn); ok {
		s.useRaw(conn.(syscall.Conn))
	}
	return s
}

// read waits for bytes. They are valid until release, which must follow. The error is io.EOF at the end.
func (s *source) read() (buf []byte, n int, err error) {
	if s.raw == nil {
		s.buf = buffers.Get().(*[bufferSize]byte)
		n, err = s.conn.Read(s.buf[:])
		return s.buf[:], n, err
	}
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.try); err != nil {
		return nil, 0, err
	}
	return s.buf[:], s.n, s.err
}

// release makes the buffer of the latest read available to other reads.
func (s *source) release() {
	if s.buf != nil {
		buffers.Put(s.buf)
		s.buf = nil
	}
}
