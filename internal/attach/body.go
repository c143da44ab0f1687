// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"io"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// A flight is the body of its response. It counts the attempt as ended when it has
// been read to its end or closed, whichever is first.

// Read counts the attempt as ended when it meets the body's end or an error.
func (f *flight) Read(p []byte) (int, error) {
	watched := f.stop != nil // else nobody comes between
	if watched && !f.stage.CompareAndSwap(open, reading) {
		if err := f.ctx.Err(); err != nil {
			return 0, err // the body may be being closed
		}
		return f.ReadCloser.Read(p)
	}
	n, err := f.ReadCloser.Read(p)
	if err != nil {
		if err != io.EOF {
			_ = f.shut() // as in tear
		}
		f.end(err)
	} else if watched && !f.stage.CompareAndSwap(reading, open) && f.stage.CompareAndSwap(torn, over) {
		f.tear()
	}
	return n, err
}

// Close counts the attempt as ended, if it has not.
func (f *flight) Close() error {
	err := f.shut()
	if f.stage.Load() != over { // as it is when the body was read to its end
		f.end(nil)
	}
	return err
}

// shut closes what the body comes from, once.
func (f *flight) shut() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.ReadCloser.Close()
}

// tear ends a flight whose context has ended: the body is closed first, so that
// the backend is rid of the request before another gets its slot.
func (f *flight) tear() {
	_ = f.shut()
	f.count(backend.Now(), f.ctx.Err(), true)
}

func (f *flight) end(err error) {
	now := backend.Now()
	if err == io.EOF {
		err = nil
		if f.stage.Load() != over && f.res != nil && len(f.res.Trailer) > 0 {
			learn(f.claim.Backend, now, f.res.Trailer)
			if isGRPC(f.res) {
				f.attempt.Error = grpcError(f.res.Trailer)
			}
		}
	}
	f.finish(now, err, err != nil && f.ctx.Err() != nil)
}

type closeWriter interface{ CloseWrite() error }

// duplex is an upgraded connection: it is read, written and closed by several
// goroutines, and has ended when it is closed. Read to its end, it may be written
// to still.
type duplex struct {
	*flight
	io.Writer
}

// Read reads from the connection.
func (d *duplex) Read(p []byte) (int, error) { return d.flight.ReadCloser.Read(p) }

// halfDuplex is a duplex whose write half can be closed alone.
type halfDuplex struct {
	duplex
	closeWriter
}
