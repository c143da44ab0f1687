// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// A backend that gives a response so much time breaks it off where the client is slow
// to read it: for a second at least, and a quarter of the time.
func TestClientThatDoesNotReadIsNoError(t *testing.T) {
	for name, c := range map[string]struct {
		backend, client time.Duration // how long each takes for its half
		want            outlier.Failure
	}{
		"a client that reads on":              {0, 0, outlier.Reset},
		"one that takes its time":             {0, 900 * time.Millisecond, outlier.Reset},
		"one that does not read for a second": {0, time.Second, outlier.Unread},
		"in a long response":                  {time.Minute, 10 * time.Second, outlier.Reset},
		"for most of a long response":         {10 * time.Second, time.Minute, outlier.Unread},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := backendtest.Ejectable("a:1")
				a := sending(b)
				a.attempt.Start = clock.Now()
				b.Begin(&a.attempt)
				body := io.MultiReader(strings.NewReader("half"), &later{c.backend, io.ErrUnexpectedEOF})
				res := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}
				a.wrapBody(res)
				part := make([]byte, 4)
				if _, err := res.Body.Read(part); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.client)
				if _, err := res.Body.Read(part); err == nil {
					t.Fatal("the response does not break off")
				}
				if n := b.Totals().Failures[c.want]; n != 1 {
					t.Errorf("got %v, want %v", b.Totals().Failures, c.want)
				}
				if got := b.EjectionState() != outlier.Healthy; got != (c.want == outlier.Reset) {
					t.Errorf("ejected: %v", got)
				}
			})
		})
	}
}

// later ends a body, so late.
type later struct {
	after time.Duration
	err   error
}

func (l *later) Read([]byte) (int, error) {
	time.Sleep(l.after)
	return 0, l.err
}

// A backend, or the transport, that gives a request so much time ends it where the
// client is slow to send it, though by then all of it may have come.
func TestClientThatSendsSlowlyIsNoError(t *testing.T) {
	reset, timeout := io.ErrUnexpectedEOF, context.DeadlineExceeded
	for name, c := range map[string]struct {
		client, backend time.Duration
		err             error
		want            bool
	}{
		"a request that comes at once":       {0, time.Minute, timeout, false},
		"a pause before the body":            {900 * time.Millisecond, 0, reset, false},
		"a pause that a backend may end":     {time.Second, 0, reset, true},
		"one that the transport may end":     {time.Second, 0, timeout, true},
		"a backend that takes much longer":   {time.Second, time.Minute, timeout, false},
		"a client that takes nearly as long": {50 * time.Second, time.Minute, timeout, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				req := httptest.NewRequest(http.MethodPost, "http://x/", io.MultiReader(&later{c.client, io.EOF}, strings.NewReader("body")))
				req.ContentLength = 4
				_, u := watchUpload(req, nil)
				start := clock.Now()
				if body, err := io.ReadAll(u); err != nil || string(body) != "body" {
					t.Fatal(string(body), err)
				}
				time.Sleep(c.backend)
				if got := u.exempts(c.err, clock.Now()-start); got != c.want {
					t.Errorf("excused: %v, want %v", got, c.want)
				}
			})
		})
	}
}

// A body that an earlier attempt has read, and that nobody has kept, is not sent
// again: the backend of the retry gets a part of it or nothing, and is not to blame.
func TestSpentUploadIsNoFailure(t *testing.T) {
	for _, length := range []int64{10, -1} {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		t.Cleanup(server.Close)
		address := server.Listener.Addr().String()
		b := backendtest.Ejectable(address)
		earlier := new(upload)
		earlier.read.Store(10)
		req, err := http.NewRequest(http.MethodPost, "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("rest")), length
		watched, u := watchUpload(req, earlier)
		if length < 0 {
			_, _ = io.ReadAll(u) // a backend might answer anything to what is no request
		} else if _, err := http.DefaultTransport.RoundTrip(watched); err == nil {
			t.Fatal("a body that is too short was sent")
		}
		a := sending(b)
		a.upload = u
		b.Begin(&a.attempt)
		a.attempt.Status = http.StatusServiceUnavailable
		a.finish(clock.Now(), nil, false)
		if b.EjectionState() != outlier.Healthy {
			t.Errorf("of length %d: ejected", length)
		}
	}
}
