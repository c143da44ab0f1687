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
	"time"

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

// openWebSocket opens a WebSocket to services.
func openWebSocket(t *testing.T, port int) *websocket.Conn {
	t.Helper()
	ws, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d/websocket", port), "", fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return ws
}

// echoOver sends a message and waits for it to come back.
func echoOver(ws *websocket.Conn) error {
	_ = ws.SetDeadline(time.Now().Add(soon))
	if err := websocket.Message.Send(ws, "hello"); err != nil {
		return err
	}
	var got string
	err := websocket.Message.Receive(ws, &got)
	if err == nil && got != "hello" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// TestWebSocketsOverReload has Caddy close a WebSocket on a reload that changes
// nothing of the pool, and keep one where stream_close_delay is written beside it. The
// second is counted until it ends.
func TestWebSocketsOverReload(t *testing.T) {
	_, addresses := newServices(t)
	closed, kept := freePort(t), freePort(t)
	site := func(port int, pool, option string) string {
		return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool %s {\nto %s\n}\n%s\n}\n}\n", port, pool, strings.Join(addresses, " "), option)
	}
	sites := site(closed, "closed", "") + site(kept, "kept", "stream_close_delay 5m")
	c := startCaddy(t, "", sites)
	inFlight := func() (sum float64) {
		for _, n := range c.metric("requests_in_flight") {
			sum += n
		}
		return sum
	}
	one, two := openWebSocket(t, closed), openWebSocket(t, kept)
	for _, ws := range []*websocket.Conn{one, two} {
		if err := echoOver(ws); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.load("", sites+fmt.Sprintf(":%d {\nbind 127.0.0.1\n}\n", freePort(t))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the WebSocket without stream_close_delay is closed", func() bool { return echoOver(one) != nil })
	for range 3 {
		if err := echoOver(two); err != nil {
			t.Errorf("the WebSocket with stream_close_delay is closed: %v", err)
		}
	}
	eventually(t, "one request is in flight", func() bool { return inFlight() == 1 })
	two.Close()
	eventually(t, "none is", func() bool { return inFlight() == 0 })
}
