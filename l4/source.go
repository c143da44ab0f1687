// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"net"
	"sync"
	"syscall"
)

// source reads from a connection. From one of the system's it borrows a buffer only when there is something
// to read, so that idle connections have none. It belongs to one goroutine.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // nil: a buffer is held while read waits
	try  func(fd uintptr) bool

	buf *[bufferSize]byte // that of the latest read; nil if it is released
	n   int
	err error
}

// bufferSize is that of a splice's usual chunk: a read that fills it is followed by others.
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

// release returns the buffer.
func (s *source) release() {
	if s.buf != nil {
		buffers.Put(s.buf)
		s.buf = nil
	}
}
