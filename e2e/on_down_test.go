// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// TestOnDown puts the backends of WebSockets and of responses under way into maintenance, over
// HTTP/1.1 and HTTP/2: with `on_down close` they end on both sides, and clients that come again
// reach the other backend.
func TestOnDown(t *testing.T) {
	s, addresses := newServices(t)
	site := func(port int, name, scheme string) string {
		return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool %s {\nto %s%s\non_down close\n}\n}\n}\n",
			port, name, scheme, strings.Join(addresses, " "+scheme))
	}
	http1, h2c := freePort(t), freePort(t)
	c := startCaddy(t, "", site(http1, "web", "")+site(h2c, "other", "h2c://"))
	// serving returns the backend of the only request in flight, and the other one.
	serving := func() (one, other string) {
		eventually(t, "one request is in flight", func() bool {
			n := c.metric("requests_in_flight")
			one, other = addresses[0], addresses[1]
			if n[one] == 0 {
				one, other = other, one
			}
			return n[one] == 1 && n[other] == 0
		})
		return one, other
	}
	maint := func(pool, id, state string) {
		c.must(http.StatusOK, http.MethodPatch, "pools/"+pool+"/backends/"+id, `{"state":"`+state+`"}`)
	}
	t.Run("websocket", func(t *testing.T) {
		open := func() *websocket.Conn {
			ws, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d/websocket", http1), "", "http://127.0.0.1/")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ws.Close() })
			return ws
		}
		ws := open()
		first, second := serving()
		maint("web", second, "maint")
		var got string
		if err := websocket.Message.Send(ws, "hello"); err != nil || websocket.Message.Receive(ws, &got) != nil || got != "hello" {
			t.Fatalf("maintenance of another backend has closed the WebSocket: %v", err)
		}
		maint("web", second, "ready")
		maint("web", first, "maint")
		_ = ws.SetDeadline(time.Now().Add(soon))
		if err := websocket.Message.Receive(ws, &got); err == nil {
			t.Errorf("received %q from a backend in maintenance", got)
		}
		wait(t, "the backend notices that the client is gone", s.gone)
		ws = open()
		if now, _ := serving(); now != second {
			t.Errorf("the client is again at %s", now)
		}
		ws.Close()
		wait(t, "the backend notices that the client is gone", s.gone)
		maint("web", first, "ready")
	})
	for pool, port := range map[string]int{"web": http1, "other": h2c} {
		t.Run("response of "+pool, func(t *testing.T) {
			res, err := newClient(t, false).Get(fmt.Sprintf("http://127.0.0.1:%d/hang?part", port))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.ReadFull(res.Body, make([]byte, len("part"))); err != nil {
				t.Fatal(err)
			}
			wait(t, "the request arrives", s.came)
			first, _ := serving()
			maint(pool, first, "maint")
			if rest, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("the response has ended well, with %q", rest)
			}
			wait(t, "the backend notices that the client is gone", s.gone)
			maint(pool, first, "ready")
		})
	}
	if events := strings.Count(c.log.String(), `"backend_streams_closed"`); events != 3 {
		t.Errorf("%d events, want 3", events)
	}
	c.quiet()
}
