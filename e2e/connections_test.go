// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// testClientGone has clients go away at each stage of a request; the backend
// must notice.
func (r route) testClientGone(t *testing.T, s *services) {
	t.Run("before the header", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/hang", nil)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan struct{})
		go func() {
			defer close(failed)
			if res, err := r.client.Do(req); err == nil {
				t.Error("a request that is never answered has an answer")
				res.Body.Close()
			}
		}()
		wait(t, "the request arrives", s.came)
		cancel()
		<-failed
		wait(t, "the backend notices that the client is gone", s.gone)
	})
	t.Run("in the response", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		res := r.do(ctx, t, "/hang?part", nil)
		if _, err := io.ReadFull(res.Body, make([]byte, len("part"))); err != nil {
			t.Fatal(err)
		}
		wait(t, "the request arrives", s.came)
		cancel()
		wait(t, "the backend notices that the client is gone", s.gone)
	})
	t.Run("in the request", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		body, write := io.Pipe()
		defer write.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/drain", body)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan struct{})
		go func() {
			defer close(failed)
			if res, err := r.client.Do(req); err == nil {
				t.Errorf("a request that never ends has an answer, status %d", res.StatusCode)
				res.Body.Close()
			}
		}()
		go io.WriteString(write, strings.Repeat("x", 100_000))
		wait(t, "the request arrives", s.came)
		cancel()
		write.CloseWithError(context.Canceled) // the client waits for its body
		<-failed
		wait(t, "the backend notices that the client is gone", s.gone)
	})
}

// testWebSocket talks through a connection, which a pool counts as one request
// for as long as it is open.
func testWebSocket(t *testing.T, c *caddyProcess, s *services, port int, counted bool) {
	ws, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d/websocket", port), "", fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, message := range []string{"hello", strings.Repeat("large ", 20_000), "bye"} {
		if err := websocket.Message.Send(ws, message); err != nil {
			t.Fatal(err)
		}
		var got string
		for len(got) < len(message) { // the backend may echo a message in parts
			var part string
			if err := websocket.Message.Receive(ws, &part); err != nil {
				t.Fatal(err)
			}
			got += part
		}
		if got != message {
			t.Errorf("got %d bytes back of %d, or others", len(got), len(message))
		}
	}
	if counted {
		sum := 0.0
		for _, n := range c.metric("requests_in_flight") {
			sum += n
		}
		if sum != 1 {
			t.Errorf("%v requests are in flight while a WebSocket is open, want 1", sum)
		}
	}
	ws.Close()
	wait(t, "the backend notices that the client is gone", s.gone)
}
