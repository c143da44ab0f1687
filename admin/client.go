// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Client is a client of the API of a running Caddy. Safe for concurrent use.
type Client struct {
	address string
	origin  string
	http    *http.Client
}

// StatusError is a response with a status of 400 or more.
type StatusError struct {
	// Status is the status of the response.
	Status int
	// Message is the error message.
	Message string
}

// Error implements [error].
func (e *StatusError) Error() string { return e.Message }

// AwayError means that the API could not be reached.
type AwayError struct {
	// Address is the address of the admin endpoint.
	Address string
	// Err is the cause.
	Err error
}

// Error implements [error].
func (e *AwayError) Error() string {
	return fmt.Sprintf("cannot reach the admin endpoint at %s: %v; is Caddy running there? For another address, write --address <admin address>", e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *AwayError) Unwrap() error { return e.Err }

const (
	dialTimeout   = 5 * time.Second
	answerTimeout = 30 * time.Second
	maxAnswer     = 64 << 20 // bytes; ten thousand backends have 15 MB
)

// NewClient returns a client of the admin endpoint at an address such as localhost:2019 or
// unix//run/caddy-admin.sock.
func NewClient(address string) (*Client, error) {
	// As in the configuration, the address of a socket may end in permissions.
	plain, _, _ := strings.Cut(address, "|")
	plain = strings.TrimSuffix(strings.TrimPrefix(plain, "http://"), "/") // of an URL
	na, err := caddy.ParseNetworkAddress(plain)
	_, odd := url.Parse("http://" + na.JoinHostPort(0))
	if err != nil || na.PortRangeSize() > 1 || odd != nil && !na.IsUnixNetwork() {
		return nil, fmt.Errorf("%q is not the address of an admin endpoint; write one such as localhost:2019 or unix//run/caddy.sock", address)
	}
	if na.Host == "" { // all of this machine's
		na.Host = "localhost"
	}
	c := &Client{address: address, origin: "http://" + na.JoinHostPort(0)}
	if na.IsUnixNetwork() || na.IsFdNetwork() {
		c.origin = "http://127.0.0.1"
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, na.Network, na.JoinHostPort(0))
		},
		DisableKeepAlives: true, // a reload replaces the endpoint
	}}
	return c, nil
}

// do sends a request and decodes the response into out.
func (c *Client) do(ctx context.Context, method, path string, body, out any, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var data io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		data = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, data)
	if err != nil {
		return err
	}
	req.Header.Set("Origin", c.origin)
	sayWho(req.Header, "caddy ballast")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		var urlErr *url.Error
		if errors.As(err, &urlErr) {
			err = urlErr.Err
		}
		return &AwayError{c.address, err}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return &AwayError{c.address, err}
	}
	if res.StatusCode >= 400 {
		var f Failure
		if json.Unmarshal(answer, &f) != nil || f.Error == "" {
			f.Error = fmt.Sprintf("the admin endpoint at %s returned status %d; was that Caddy built with Ballast?", c.address, res.StatusCode)
		}
		return &StatusError{res.StatusCode, f.Error}
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the response from %s is not that of Caddy's admin endpoint: %w; write --address <admin address>", c.address, err)
	}
	return nil
}

// Pools returns all pools.
func (c *Client) Pools(ctx context.Context) (out Pools, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools"), nil, &out, answerTimeout)
}

// Pool returns one pool.
func (c *Client) Pool(ctx context.Context, name string) (out Pool, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools", name), nil, &out, answerTimeout)
}

// Backend returns one backend.
func (c *Client) Backend(ctx context.Context, pool, id string) (out Backend, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools", pool, "backends", id), nil, &out, answerTimeout)
}

// Rollouts returns the groups of a pool.
func (c *Client) Rollouts(ctx context.Context, pool string) (out Rollouts, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools", pool, "rollouts"), nil, &out, answerTimeout)
}

// Rollout returns one group of a pool.
func (c *Client) Rollout(ctx context.Context, pool, group string) (out Group, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools", pool, "rollouts", group), nil, &out, answerTimeout)
}

// ChangeRollout changes the rollout of a group.
func (c *Client) ChangeRollout(ctx context.Context, pool, group string, r RolloutRequest) (out Group, err error) {
	return out, c.do(ctx, http.MethodPost, join("pools", pool, "rollouts", group), r, &out, answerTimeout)
}

// Fleet returns the fleet as the instance sees it.
func (c *Client) Fleet(ctx context.Context) (out Fleet, err error) {
	return out, c.do(ctx, http.MethodGet, join("fleet"), nil, &out, answerTimeout)
}

// Events returns the latest kept events, of one pool unless its name is empty, and of those only the
// ones after a sequence number.
func (c *Client) Events(ctx context.Context, pool string, last int, after uint64) (out Events, err error) {
	query := url.Values{"last": {strconv.Itoa(last)}, "after": {strconv.FormatUint(after, 10)}}
	if pool != "" {
		query.Set("pool", pool)
	}
	return out, c.do(ctx, http.MethodGet, join("events")+"?"+query.Encode(), nil, &out, answerTimeout)
}

// Explain returns which backend a request would get. The values describe the request, as in the
// query of the route.
func (c *Client) Explain(ctx context.Context, pool string, values url.Values) (out Explained, err error) {
	return out, c.do(ctx, http.MethodGet, join("pools", pool, "explain")+"?"+values.Encode(), nil, &out, answerTimeout)
}

// Add adds a backend.
func (c *Client) Add(ctx context.Context, pool string, a AddRequest) (out Backend, err error) {
	return out, c.do(ctx, http.MethodPost, join("pools", pool, "backends"), a, &out, answerTimeout)
}

// Change changes a backend.
func (c *Client) Change(ctx context.Context, pool, id string, r ChangeRequest) (out Backend, err error) {
	return out, c.do(ctx, http.MethodPatch, join("pools", pool, "backends", id), r, &out, answerTimeout)
}

// Remove removes a backend, after it has drained or the drain time is over. After a reload,
// which interrupts the wait, it continues.
func (c *Client) Remove(ctx context.Context, pool, id string, drain time.Duration) (out Removed, err error) {
	path := join("pools", pool, "backends", id)
	for end := time.Now().Add(drain); ; {
		left := max(0, time.Until(end)).Round(time.Millisecond)
		err = c.do(ctx, http.MethodDelete, path+"?drain="+left.String(), nil, &out, left+answerTimeout)
		var statusErr *StatusError
		if !errors.As(err, &statusErr) || statusErr.Status != http.StatusServiceUnavailable || left == 0 {
			return out, err
		}
	}
}
