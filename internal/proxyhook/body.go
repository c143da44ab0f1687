// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"io"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// A trackedAttempt is the body of its response. The attempt ends when the body has been read to
// its end or closed, whichever is first.

// Read reads from the body. At its end, or on an error, it ends the attempt.
func (f *trackedAttempt) Read(p []byte) (n int, err error) {
	if !f.stage.CompareAndSwap(stageOpen, stageReading) {
		if err := f.ctx.Err(); err != nil {
			return 0, f.readError(err) // another goroutine may be closing the body
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
	if n > 0 && f.attempt.Body == 0 {
		f.permit.Backend.AnswerBody(&f.attempt, clock.Now())
	}
	if err == nil {
		f.lastRead = clock.Now()
	} else {
		if err != io.EOF {
			_ = f.closeOnce() // as in abort
			err = f.readError(err)
		}
		f.end(err)
	}
	if err == nil && !f.stage.CompareAndSwap(stageReading, stageOpen) && f.stage.CompareAndSwap(stageAborted, stageEnded) {
		f.abort()
	}
	return n, err
}

// Close closes the body and ends the attempt, if it has not ended.
func (f *trackedAttempt) Close() error {
	defer func() {
		if f.stage.Load() != stageEnded { // false if the body was read to its end
			f.end(nil)
		}
	}()
	return f.closeOnce()
}

// closeOnce closes the response's body, once.
func (f *trackedAttempt) closeOnce() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.ReadCloser.Close()
}

// abort ends an attempt whose context has ended. It closes the body first, so that the backend is
// free of the request before another one gets the slot.
func (f *trackedAttempt) abort() {
	defer func() { f.count(clock.Now(), f.ctx.Err(), true) }()
	_ = f.closeOnce()
}

// end ends the attempt, once. err is io.EOF if the body was read to its end.
func (f *trackedAttempt) end(err error) {
	stage := f.stage.Swap(stageEnded)
	if stage == stageEnded {
		return
	}
	if err == io.EOF || err == nil && stage == stageOpen {
		f.noBody()
	}
	now := clock.Now()
	if err == io.EOF {
		err = nil
		// The trailer may be read only after the end of the body, and only by the reader.
		if f.res != nil && len(f.res.Trailer) > 0 {
			recordLoadReport(f.permit.Backend, now, *f.metric, f.res.Trailer)
			if f.grpc {
				f.attempt.Error = grpcError(f.res.Trailer)
			}
		}
	}
	f.count(now, err, err != nil && f.ctx.Err() != nil)
}

// noBody records that the response has ended. If nothing of a body was read, the header was all
// that a client waited for.
func (f *trackedAttempt) noBody() {
	f.permit.Backend.AnswerBody(&f.attempt, f.attempt.Start+f.attempt.FirstByte)
}

type closeWriter interface{ CloseWrite() error }

// duplex is an upgraded connection. Several goroutines read, write and close it. It ends when it
// is closed, since it may still be written after its end was read.
type duplex struct {
	*trackedAttempt
	io.Writer
}

// Read reads from the connection.
func (d *duplex) Read(p []byte) (int, error) { return d.trackedAttempt.ReadCloser.Read(p) }

// halfDuplex is a duplex that supports closing the write half alone.
type halfDuplex struct {
	duplex
	closeWriter
}
