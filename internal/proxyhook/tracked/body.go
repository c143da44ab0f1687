// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"io"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

// An Exchange is the body of its response. The attempt ends when the body has been read to
// its end or closed, whichever is first.

// Read reads from the body. At its end, or on an error, it ends the attempt.
func (a *Exchange) Read(p []byte) (n int, err error) {
	if !a.stage.CompareAndSwap(stageOpen, stageReading) {
		if err := a.ctx.Err(); err != nil {
			return 0, a.readError(err) // another goroutine may be closing the body
		}
		return a.ReadCloser.Read(p)
	}
	if a.lastRead != 0 {
		a.idle += clock.Now() - a.lastRead
	}
	returned := false
	defer func() {
		if !returned {
			a.EndPanicked()
		}
	}()
	n, err = a.ReadCloser.Read(p)
	returned = true
	if n > 0 && a.attempt.Body == 0 {
		a.permit.Backend.AnswerBody(&a.attempt, clock.Now())
	}
	if err == nil {
		a.lastRead = clock.Now()
	} else {
		if err != io.EOF {
			_ = a.closeOnce() // as in abort
			err = a.readError(err)
		}
		a.end(err)
	}
	if err == nil && !a.stage.CompareAndSwap(stageReading, stageOpen) && a.stage.CompareAndSwap(stageAborted, stageEnded) {
		a.abort()
	}
	return n, err
}

// Close closes the body and ends the attempt, if it has not ended.
func (a *Exchange) Close() error {
	defer func() {
		if a.stage.Load() != stageEnded { // false if the body was read to its end
			a.end(nil)
		}
	}()
	return a.closeOnce()
}

// closeOnce closes the response's body, once.
func (a *Exchange) closeOnce() error {
	if a.closed.Swap(true) {
		return nil
	}
	return a.ReadCloser.Close()
}

// abort ends an attempt whose context has ended. It closes the body first, so that the backend is
// free of the request before another one gets the slot.
func (a *Exchange) abort() {
	defer func() { a.count(clock.Now(), a.ctx.Err(), true) }()
	_ = a.closeOnce()
}

// end ends the attempt, once. err is io.EOF if the body was read to its end.
func (a *Exchange) end(err error) {
	stage := a.stage.Swap(stageEnded)
	if stage == stageEnded {
		return
	}
	if err == io.EOF || err == nil && stage == stageOpen {
		a.noBody()
	}
	now := clock.Now()
	if err == io.EOF {
		err = nil
		// The trailer may be read only after the end of the body, and only by the reader.
		if a.res != nil && len(a.res.Trailer) > 0 {
			a.metric.Record(a.permit.Backend, now, a.res.Trailer)
			if a.grpc {
				a.attempt.Error = grpcError(a.res.Trailer)
			}
		}
	}
	a.count(now, err, err != nil && a.ctx.Err() != nil)
}

// noBody records that the response has ended. If nothing of a body was read, the header was all
// that a client waited for.
func (a *Exchange) noBody() {
	a.permit.Backend.AnswerBody(&a.attempt, a.attempt.Start+a.attempt.FirstByte)
}

type closeWriter interface{ CloseWrite() error }

// duplex is an upgraded connection. Several goroutines read, write and close it. It ends when it
// is closed, since it may still be written after its end was read.
type duplex struct {
	*Exchange
	io.Writer
}

// Read reads from the connection.
func (d *duplex) Read(p []byte) (int, error) { return d.Exchange.ReadCloser.Read(p) }

// halfDuplex is a duplex that supports closing the write half alone.
type halfDuplex struct {
	duplex
	closeWriter
}
