// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// Client sends requests to one address over connections that are kept. It is not the
// client of net/http: that one needs as much CPU time as a proxy, which is on the same
// machine.
type Client struct{ host *fasthttp.HostClient }

// NewClient returns one that has up to so many connections.
func NewClient(address string, connections int) *Client {
	return &Client{&fasthttp.HostClient{
		Addr:     address,
		MaxConns: connections,
		// A connection that was closed while nothing was sent on it is no answer.
		RetryIfErr: func(_ *fasthttp.Request, attempts int, err error) (bool, bool) {
			return false, attempts < 2 && unsent(err)
		},
		ReadBufferSize:  2 << 10,
		WriteBufferSize: 2 << 10,
		Dial:            func(address string) (net.Conn, error) { return net.DialTimeout("tcp", address, time.Second) },
	}}
}

// unsent reports whether a kept connection had been closed before a request came.
func unsent(err error) bool { return errors.Is(err, fasthttp.ErrConnectionClosed) }

// Close closes the connections.
func (c *Client) Close() { c.host.CloseIdleConnections() }

// Get sends a request for a path. The deadline of ctx is for how long it waits.
func (c *Client) Get(ctx context.Context, path string) Outcome {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI("http://" + c.host.Addr + path)
	deadline, _ := ctx.Deadline()
	err := c.host.DoDeadline(req, res, deadline)
	var late net.Error
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.As(err, &late) && late.Timeout():
		return TimedOut
	case err != nil:
		return Failed
	}
	switch res.StatusCode() {
	case http.StatusOK:
		return Answered
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return Refused // nginx says 502
	}
	return Failed
}
