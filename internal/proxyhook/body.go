// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"io"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// A flight is the body of its response. It counts the attempt as ended when it has
// been read to its end or closed, whichever is first.

// Read counts the attempt as ended when it meets the body's end or an error.
func (f *trackedAttempt) Read(p []byte) (n int, err error) {
	if !f.stage.CompareAndSwap(stageOpen, stageReading) {
		if err := f.ctx.Err(); err != nil {
			return 0, err // the body may be being closed
		}
		return f.ReadCloser.Read(p)
	}
	if f.lastRead != 0 {
		f.idle += clock.Now() - f.lastRead
	}
	returned := false
	defer func() {
		if !returned {
			f.endPanicked()
		}
	}()
	n, err = f.ReadCloser.Read(p)
	returned = true
	if err == nil {
		f.lastRead = clock.Now()
	} else {
		if err != io.EOF {
			_ = f.closeOnce() // as in tear
		}
		f.end(err)
	}
	if err == nil && !f.stage.CompareAndSwap(stageReading, stageOpen) && f.stage.CompareAndSwap(stageAborted, stageEnded) {
		f.abort()
	}
	return n, err
}

// Close counts the attempt as ended, if it has not.
func (f *trackedAttempt) Close() error {
	defer func() {
		if f.stage.Load() != stageEnded { // as it is when the body was read to its end
			f.end(nil)
		}
	}()
	return f.closeOnce()
}

// closeOnce closes what the body comes from, once.
func (f *trackedAttempt) closeOnce() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.ReadCloser.Close()
}

// abort ends a flight whose context has ended: the body is closed first, so that
// the backend is rid of the request before another gets its slot.
func (f *trackedAttempt) abort() {
	defer func() { f.count(clock.Now(), f.ctx.Err(), true) }()
	_ = f.closeOnce()
}

// end counts the attempt as ended, once: io.EOF says that its body was read to the
// end.
func (f *trackedAttempt) end(err error) {
	if f.stage.Swap(stageEnded) == stageEnded {
		return
	}
	now := clock.Now()
	if err == io.EOF {
		err = nil
		// Only who has read the end may look at the trailer, and only then.
		if f.res != nil && len(f.res.Trailer) > 0 {
			recordLoadReport(f.permit.Backend, now, f.res.Trailer)
			if f.grpc {
				f.attempt.Error = grpcError(f.res.Trailer)
			}
		}
	}
	f.count(now, err, err != nil && f.ctx.Err() != nil)
}

type closeWriter interface{ CloseWrite() error }

// duplex is an upgraded connection: it is read, written and closed by several
// goroutines, and has ended when it is closed. Read to its end, it may be written
// to still.
type duplex struct {
	*trackedAttempt
	io.Writer
}

// Read reads from the connection.
func (d *duplex) Read(p []byte) (int, error) { return d.trackedAttempt.ReadCloser.Read(p) }

// halfDuplex is a duplex whose write half can be closed alone.
type halfDuplex struct {
	duplex
	closeWriter
}
