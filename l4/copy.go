// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/mholt/caddy-l4/layer4"
)

// direction copies from one side of a tunnel to the other. Between TCP connections it holds no buffer while
// it waits, and moves large amounts within the kernel. Only one goroutine may use it.
type direction struct {
	*tunnel
	client     *layer4.Connection // has the bytes that caddy-l4's matchers have read; nil if the backend is the source
	src, dst   net.Conn
	count      func(bytes int64)
	fromServer bool

	bulk io.LimitedReader
}

const (
	// spliceMost and spliceFor bound the bytes and the duration of one call of splice, so that counters
	// advance during long transfers.
	spliceMost = 4 << 20
	spliceFor  = time.Second
)

// copy copies until the source ends, and then closes the writing half of the destination. It returns false if
// both connections must be closed instead.
func (d *direction) copy() (half bool) {
	reading, err := d.transfer()
	switch {
	case errors.Is(err, net.ErrClosed): // the tunnel has closed it
	case d.fromServer == reading: // reading from, or writing to, the backend has ended
		d.serverEnded()
	default:
		d.clientEnded.Store(true)
	}
	return err == io.EOF && !d.early.Load() && d.halfClose(d.dst)
}

// transfer copies until an error, which is io.EOF at the end of the source. reading reports whether the error
// is from reading the source; otherwise it is from writing.
func (d *direction) transfer() (reading bool, err error) {
	if d.client != nil {
		if reading, err := d.transferBuffered(); err != nil {
			return reading, err
		}
	}
	s := newSource(d.src)
	splices := d.splices()
	for {
		buf, n, err := s.read()
		if n > 0 {
			if err := d.write(buf[:n]); err != nil {
				s.release()
				return false, err
			}
		}
		full := n == len(buf)
		s.release()
		for more := full && splices && err == nil; more; {
			more, err = d.splice()
		}
		if err != nil {
			return true, err
		}
	}
}

// transferBuffered copies the bytes that caddy-l4's matchers have read from the client. The results are as in
// transfer, with a nil error when all are copied.
func (d *direction) transferBuffered() (reading bool, err error) {
	for {
		waiting := d.client.MatchingBytes()
		if len(waiting) == 0 {
			return false, nil
		}
		chunk := make([]byte, len(waiting))
		n, err := d.client.Read(chunk)
		if err != nil {
			return true, err
		}
		if err := d.write(chunk[:n]); err != nil {
			return false, err
		}
	}
}

func (d *direction) write(p []byte) error {
	if d.fromServer && !d.answered.Load() {
		d.answered.Store(true)
	}
	d.note()
	n, err := d.dst.Write(p)
	d.count(int64(n))
	return err
}

// splices reports whether the kernel can move the bytes: on Linux, Go splices from stream sockets to TCP
// connections.
func (d *direction) splices() bool {
	_, to := d.dst.(*net.TCPConn)
	_, from := raw(d.src)
	return runtime.GOOS == "linux" && to && from
}

// splice moves bytes within the kernel until the source pauses. It returns true if there was no pause within
// the bounds of one call. The error is io.EOF at the end of the source; others may be from either side.
func (d *direction) splice() (more bool, err error) {
	if err := d.src.SetReadDeadline(time.Now().Add(spliceFor)); err != nil {
		return false, err
	}
	d.bulk = io.LimitedReader{R: d.src, N: spliceMost}
	n, err := d.dst.(io.ReaderFrom).ReadFrom(&d.bulk)
	d.count(n)
	if n > 0 {
		d.note()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = nil
	case err == nil && n < spliceMost:
		err = io.EOF
	default:
		more = err == nil
	}
	if deadline := d.src.SetReadDeadline(time.Time{}); err == nil {
		err = deadline
	}
	return more, err
}

// raw returns conn if it is a stream socket of the operating system without a wrapper, and else false.
func raw(conn net.Conn) (net.Conn, bool) {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn, true
	case *net.UnixConn:
		return conn, conn.LocalAddr().Network() == "unix"
	}
	return nil, false
}

// halfCloser is a connection whose writing half can be closed alone.
type halfCloser interface{ CloseWrite() error }

// closeWriter returns the connection that can close its writing half. It looks below the wrappers of caddy-l4
// and of the PROXY protocol, which do not change what is written.
func closeWriter(conn net.Conn) (halfCloser, bool) {
	for {
		switch c := conn.(type) {
		case halfCloser:
			return c, true
		case *layer4.Connection:
			conn = c.Conn
		case interface{ Raw() net.Conn }:
			conn = c.Raw()
		default:
			return nil, false
		}
	}
}
