// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Target is the destination and the form of a client's requests.
type Target struct {
	// URL is http:// or https://.
	URL string
	// Method is GET by default.
	Method string
	// Header has fields of each request, in pairs of name and value. Host sets the host.
	Header [][2]string
	Body   []byte
	// Connections bounds the connections; further requests wait for one. Default 10,000.
	Connections int
	// ServerHeader is the field of responses with the name of the backend. Default: none.
	ServerHeader string
	// Refusals are the statuses of refused requests. Default 429 and 503.
	Refusals []int
	// Cookies makes the client return cookies as a browser does. Their paths and domains are
	// ignored.
	Cookies bool
	// SkipVerify accepts any certificate.
	SkipVerify bool
	// Dial opens a connection. Default: that of net.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client sends HTTP/1.1 requests to one address over keep-alive connections. It does not use
// net/http, whose client needs as much CPU time as the proxy on the same machine. It is safe for
// concurrent use.
type Client struct {
	Target
	host *fasthttp.HostClient
	path string

	mu      sync.Mutex
	cookies map[string]string
}

// dialTimeout bounds a connect.
const dialTimeout = 3 * time.Second

// NewClient returns a client, or an error if the URL is not one.
func NewClient(t Target) (*Client, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a website, such as http://127.0.0.1:8080/", t.URL)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	t.Method = cmp.Or(t.Method, "GET")
	t.Connections = cmp.Or(t.Connections, 10_000)
	if t.Refusals == nil {
		t.Refusals = []int{fasthttp.StatusTooManyRequests, fasthttp.StatusServiceUnavailable}
	}
	if t.Dial == nil {
		t.Dial = (&net.Dialer{}).DialContext
	}
	return &Client{Target: t, path: u.RequestURI(), cookies: make(map[string]string), host: &fasthttp.HostClient{
		Addr:                net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)),
		IsTLS:               u.Scheme == "https",
		TLSConfig:           &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: t.SkipVerify},
		MaxConns:            t.Connections,
		MaxConnWaitTimeout:  time.Hour, // the deadline of a request is earlier
		MaxIdleConnDuration: time.Hour,
		// Resend a request whose idle connection the server has closed.
		RetryIfErr: func(_ *fasthttp.Request, attempts int, err error) (bool, bool) {
			return false, attempts < 2 && unsent(err)
		},
		ReadBufferSize:         4 << 10,
		WriteBufferSize:        2 << 10,
		DisablePathNormalizing: true,
		Dial: func(address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			return t.Dial(ctx, "tcp", address)
		},
	}}, nil
}

// unsent reports whether an idle connection was closed before a request was sent on it.
func unsent(err error) bool { return errors.Is(err, fasthttp.ErrConnectionClosed) }

// Close closes the connections.
func (c *Client) Close() { c.host.CloseIdleConnections() }

// Do sends the request of the target, and waits until the deadline of ctx.
func (c *Client) Do(ctx context.Context) Reply { return c.Get(ctx, c.path) }

// Get is like Do for another path, with its query.
func (c *Client) Get(ctx context.Context, path string) Reply {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	scheme := "http://"
	if c.host.IsTLS {
		scheme = "https://"
	}
	req.SetRequestURI(scheme + c.host.Addr + path)
	req.Header.SetMethod(c.Method)
	for _, field := range c.Header {
		if strings.EqualFold(field[0], "Host") {
			req.UseHostHeader = true
		}
		req.Header.Set(field[0], field[1])
	}
	req.SetBodyRaw(c.Body)
	c.sendCookies(req)
	deadline, _ := ctx.Deadline()
	err := c.host.DoDeadline(req, res, deadline)
	var late net.Error
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.As(err, &late) && late.Timeout():
		return Reply{Outcome: TimedOut}
	case err != nil:
		return Reply{Outcome: Failed}
	}
	c.keepCookies(res)
	reply := Reply{Status: res.StatusCode(), Outcome: Failed}
	if c.ServerHeader != "" {
		reply.Server = string(res.Header.Peek(c.ServerHeader))
	}
	switch {
	case reply.Status < 400:
		reply.Outcome = Answered
	case slices.Contains(c.Refusals, reply.Status):
		reply.Outcome = Refused
	}
	return reply
}

func (c *Client) sendCookies(req *fasthttp.Request) {
	if !c.Cookies {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, value := range c.cookies {
		req.Header.SetCookie(name, value)
	}
}

func (c *Client) keepCookies(res *fasthttp.Response) {
	if !c.Cookies {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, raw := range res.Header.Cookies() {
		var cookie fasthttp.Cookie
		if cookie.ParseBytes(raw) != nil {
			continue
		}
		if expires := cookie.Expire(); expires != fasthttp.CookieExpireUnlimited && expires.Before(time.Now()) {
			delete(c.cookies, string(name))
			continue
		}
		c.cookies[string(name)] = string(cookie.Value())
	}
}
