// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// body is the body of a response. It counts the attempt as ended when it has
// been read to its end or closed, whichever is first. An upgraded connection
// is read, written and closed by several goroutines.
type body struct {
	io.ReadCloser
	backend *backend.Backend
	ctx     context.Context // the attempt's
	attempt backend.Attempt
	res     *http.Response // of a pool's backend, for the trailer
	ended   atomic.Bool
}

// follow puts b around the body of res.
func (b *body) follow(res *http.Response) {
	b.ReadCloser = res.Body
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		res.Body = b
		return
	}
	// The body of a 101 response is a connection. Caddy closes its write half
	// alone, if it has one.
	if half, ok := res.Body.(closeWriter); ok {
		res.Body = &halfDuplex{duplex{b, conn}, half}
		return
	}
	res.Body = &duplex{b, conn}
}

// Read counts the attempt as ended when it meets the body's end or an error.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Close counts the attempt as ended, if it has not.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end(nil)
	return err
}

func (b *body) end(err error) {
	if b.ended.Swap(true) {
		return
	}
	now := backend.Now()
	if err == io.EOF {
		err = nil
		if b.res != nil && len(b.res.Trailer) > 0 {
			learn(b.backend, now, b.res.Trailer)
			if isGRPC(b.res) {
				b.attempt.Error = grpcError(b.res.Trailer)
			}
		}
	}
	b.backend.End(&b.attempt, now, err, err != nil && b.ctx.Err() != nil)
}

type closeWriter interface{ CloseWrite() error }

// duplex is a body that is also written to.
type duplex struct {
	*body
	io.Writer
}

// halfDuplex is a duplex whose write half can be closed alone.
type halfDuplex struct {
	duplex
	closeWriter
}
