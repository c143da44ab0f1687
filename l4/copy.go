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

// direction copies from one side of a tunnel to the other. Between TCP connections it holds no memory while
// it waits, and moves bulk within the kernel. It belongs to one goroutine.
type direction struct {
	*tunnel
	client     *layer4.Connection // read first for what caddy-l4's matchers have read; nil for the backend
	src, dst   net.Conn
	count      func(int64)
	fromServer bool

	bulk io.LimitedReader
}

const (
	// spliceMost is how many bytes are spliced at a time, and spliceFor for how long at most; then they
	// are counted.
	spliceMost = 4 << 20
	spliceFor  = time.Second
)

// copy copies until the source ends, and closes that half of the other side. It returns false if both sides
// must be closed instead.
func (d *direction) copy() (half bool) {
	reading, err := d.transfer()
	switch {
	case errors.Is(err, net.ErrClosed): // by the tunnel
	case d.fromServer == reading: // an end, or an error, of the backend
		d.serverEnded()
	default:
		d.clientEnded.Store(true)
	}
	return err == io.EOF && !d.early.Load() && d.halfClose(d.dst)
}

// transfer copies until an error, which is io.EOF at the end of the source. reading says that it is one of
// the source.
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

// transferBuffered copies what caddy-l4's matchers have read of the client.
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

// splices reports whether the kernel can move the bytes: Go splices to TCP connections, on Linux.
func (d *direction) splices() bool {
	_, to := d.dst.(*net.TCPConn)
	_, from := raw(d.src)
	return runtime.GOOS == "linux" && to && from
}

// splice moves bytes within the kernel until there is a pause. It returns more if there was none, and io.EOF
// at the end of the source. Other errors are of either side.
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

// raw returns a connection that is one of the system's streams, without anything around it.
func raw(conn net.Conn) (net.Conn, bool) {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn, true
	case *net.UnixConn:
		return conn, conn.LocalAddr().Network() == "unix"
	}
	return nil, false
}

// halfCloser is a connection that can end its half alone.
type halfCloser interface{ CloseWrite() error }

// closeWriter returns what closes the writing half of a connection, below caddy-l4's and the PROXY protocol's
// wrappers, which pass on what is written as it is.
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
