// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package replay keeps the beginning of a request's body, so that the request can be sent again.
package replay

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
)

// Errors of [Body.Again] and [Body.Fork].
var (
	// ErrTooLarge means that more of the body was read than is kept.
	ErrTooLarge = errors.New("more of the request's body was sent than is kept for another attempt")
	// ErrBusy means that the latest reader waits for bytes that will not be kept.
	ErrBusy = errors.New("the request's body is still being read")
	// ErrPartial means that a part of the body was not read yet.
	ErrPartial = errors.New("the request's body was not read to its end")
	// ErrSettled means that [Body.Settle] was called.
	ErrSettled = errors.New("the request's body is no longer kept")
)

// ErrDetached is the error of a reader after [Body.Again] has returned a later one.
var ErrDetached = errors.New("another attempt reads the request's body")

// errClosed is the error of a reader that was closed.
var errClosed = errors.New("the request's body was closed")

// Body is the body of a request, of which the first bytes are kept as they are read. Each attempt has its own
// reader: it reads the first bytes from memory, and the rest from the client. The client's body is closed when the
// latest reader is closed and [Body.Settle] was called, in any order. A nil Body stands for a request without a
// body. Body and its readers are safe for concurrent use.
type Body struct {
	limit     int64
	length    int64       // -1 if unknown
	trailer   http.Header // of the request; source sets it at its end
	announced http.Header // the fields of trailer; read-only, nil if there can be none

	mu       sync.Mutex
	changed  sync.Cond // a read of source has ended, or a reader is closed or detached
	source   io.ReadCloser
	buf      *buffer // the first bytes; nil for none
	ended    error   // the error of source, at its end io.EOF; nil before
	latest   *reader
	forks    int  // open readers from Fork
	busy     bool // source is being read
	beyond   bool // likewise, and what is read will not be kept
	tooLarge bool // bytes were read that were not kept
	settled  bool
	closed   bool // source is closed

	first reader // the first reader; saves an allocation
}

// Keep returns the body of req, of which at most limit bytes are kept; nil if req has no body. It does not modify
// req, whose Body belongs to the result from then on. Memory is used only for bytes that were read.
func Keep(req *http.Request, limit int64) *Body {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &Body{limit: limit, length: req.ContentLength, source: req.Body}
	b.changed.L = &b.mu
	if req.ContentLength < 0 && req.Trailer != nil {
		b.trailer, b.announced = req.Trailer, maps.Clone(req.Trailer)
	}
	return b
}

// Again returns a reader of the body from its beginning. The earlier one is detached: its reads
// fail with [ErrDetached], and its Close does nothing. If a read of it still waits for the client,
// what that read gets goes to the new reader. Again returns [ErrTooLarge], [ErrBusy] or [ErrSettled]
// if the body cannot be read again, and the earlier reader then goes on.
func (b *Body) Again() (io.ReadCloser, error) {
	if b == nil {
		return http.NoBody, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.lost(); err != nil {
		return nil, err
	}
	if b.beyond {
		return nil, ErrBusy
	}
	r := &b.first
	if b.latest != nil {
		b.latest.detached = true
		b.changed.Broadcast()
		r = new(reader)
	}
	r.body, r.trailer, b.latest = b, maps.Clone(b.announced), r
	return r, nil
}

// Fork returns a further reader of the body from its beginning, for an attempt at the same time as
// others. It detaches none. It returns [ErrPartial] unless the whole body is kept: two attempts
// that wait for the same client would wait for each other.
func (b *Body) Fork() (io.ReadCloser, error) {
	if b == nil {
		return http.NoBody, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.lost(); err != nil {
		return nil, err
	}
	if !b.whole() {
		return nil, ErrPartial
	}
	b.forks++
	return &reader{body: b, trailer: maps.Clone(b.announced), fork: true}, nil
}

// lost returns why the beginning of the body is not kept, or nil if it is. The caller must hold mu.
func (b *Body) lost() error {
	switch {
	case b.settled:
		return ErrSettled
	case b.tooLarge:
		return ErrTooLarge
	}
	return nil
}

// Request returns req with a new reader of [Body.Again] as its body; req itself if it has no body.
func (b *Body) Request(req *http.Request) (*http.Request, error) { return b.request(req, b.Again) }

// ForkRequest returns req with a new reader of [Body.Fork] as its body; req itself if it has no body.
func (b *Body) ForkRequest(req *http.Request) (*http.Request, error) { return b.request(req, b.Fork) }

// request returns req with its next body. The trailer is the attempt's own: a transport reads its fields before the
// body, while an earlier attempt may still read the end of the body from the client.
func (b *Body) request(req *http.Request, next func() (io.ReadCloser, error)) (*http.Request, error) {
	if b == nil {
		return req, nil
	}
	body, err := next()
	if err != nil {
		return nil, err
	}
	again := *req // a transport must not modify req
	again.Body = body
	if b.announced != nil {
		again.Trailer = body.(*reader).trailer
	}
	return &again, nil
}

// Settle declares that there will be no further attempt. From then on no more bytes are kept, and closing the
// latest reader closes the client's body. Existing readers stay valid.
func (b *Body) Settle() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.settled = true
	b.free()
	closing := b.closing()
	b.mu.Unlock()
	if closing {
		_ = b.source.Close()
	}
}

// whole reports whether all of the body is kept. With a length the reader needs not to have seen
// the end. The caller must hold mu.
func (b *Body) whole() bool {
	return !b.tooLarge && (b.ended == io.EOF || b.ended == nil && b.length >= 0 && int64(b.buf.len()) == b.length)
}

// closing reports whether the caller, which holds mu, has to close source.
func (b *Body) closing() bool {
	if !b.settled || b.closed || b.latest != nil && !b.latest.closed {
		return false
	}
	b.closed = true
	return true
}

// free gives the buffer back if no reader needs it. The caller must hold mu.
func (b *Body) free() {
	if !b.settled || b.forks > 0 || b.buf == nil {
		return
	}
	if r := b.latest; r == nil || r.closed || r.off == b.buf.len() {
		b.buf.free()
		b.buf = nil
		if r != nil {
			r.off = 0
		}
	}
}

// reader is the body of one attempt. All fields are guarded by the mutex of body.
type reader struct {
	body     *Body
	trailer  http.Header // set at the end of the body; nil if there is none
	off      int         // in the buffer of body
	fork     bool
	closed   bool
	detached bool
}

// Read reads what is kept, then from the client.
func (r *reader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case r.detached:
			return 0, ErrDetached
		case r.closed:
			return 0, errClosed
		case r.off < b.buf.len():
			n := copy(p, b.buf.bytes()[r.off:])
			r.off += n
			b.free()
			return n, nil
		case r.fork: // all of the body was kept when it was made
			return 0, r.end(io.EOF)
		case b.ended != nil:
			return 0, r.end(b.ended)
		case b.busy: // an earlier reader reads
			b.changed.Wait()
		case len(p) == 0:
			return 0, nil
		default:
			return r.fetch(p)
		}
	}
}

// fetch reads from source, without mu, which the caller holds. As long as bytes are kept, it reads
// at most as many as may still be kept. So whoever is detached meanwhile has lost none.
func (r *reader) fetch(p []byte) (n int, err error) {
	b := r.body
	keep := !b.settled && !b.tooLarge
	if room := b.limit - int64(b.buf.len()); keep && room > 0 {
		p = p[:min(int64(len(p)), room)]
	} else {
		keep = false
	}
	b.busy, b.beyond = true, !keep && !b.settled
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.busy, b.beyond = false, false
		b.changed.Broadcast()
		if err != nil {
			b.ended = err
			if !r.detached {
				_ = r.end(err)
			}
		}
		if n == 0 {
			return
		}
		switch {
		case r.detached || keep && !b.settled:
			b.buf = b.buf.append(p[:n], b.limit)
			if !r.detached {
				r.off += n
			}
		case !b.settled:
			b.tooLarge = true
			if b.forks == 0 { // nobody will read it again
				b.buf.free()
				b.buf, r.off = nil, 0
			}
		}
		if r.detached {
			n, err = 0, ErrDetached
		}
	}()
	return b.source.Read(p)
}

// end sets the trailer if err is the end of the body. It returns err.
func (r *reader) end(err error) error {
	if err == io.EOF && r.trailer != nil {
		clear(r.trailer)
		maps.Copy(r.trailer, r.body.trailer)
		r.trailer = nil // the transport reads it from now on
	}
	return err
}

// Close ends the reader. It closes the client's body if there will be no other reader.
func (r *reader) Close() error {
	b := r.body
	b.mu.Lock()
	if r.closed || r.detached {
		b.mu.Unlock()
		return nil
	}
	r.closed = true
	if r.fork {
		b.forks--
	}
	b.changed.Broadcast()
	b.free()
	closing := b.closing()
	b.mu.Unlock()
	if closing {
		return b.source.Close()
	}
	return nil
}
