// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// slotsSite is a site of three backends with 10 slots each. No two with different n
// are the same. Upgraded connections outlive a reload.
func slotsSite(port int, to string, n int) string {
	return telling(port, fmt.Sprintf(`
		header X-Version %d
		reverse_proxy {
			dynamic pool web {
				to %s
				max_requests 10
				queue 100 300ms
			}
			stream_close_delay 1h
		}`, n, to))
}

// TestOverloadUpgrades has connections that were upgraded hold their slots until
// they are closed, and not longer.
func TestOverloadUpgrades(t *testing.T) {
	crews, to := startCrews(t)
	for _, crew := range crews {
		socket := websocket.Server{Handler: func(ws *websocket.Conn) {
			defer crew.enter()()
			io.Copy(ws, ws)
		}}
		crew.serves(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/socket" {
				socket.ServeHTTP(w, r)
			} else {
				crew.name(w, r)
			}
		})
	}
	port := freePort(t)
	c := startCaddy(t, "", slotsSite(port, to, 0))
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	var open []*websocket.Conn
	for range 3 * perCrew {
		ws, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d/socket", port), "", url)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		open = append(open, ws)
	}
	eventually(t, "all are open", func() bool { return total(crews, busy) == 3*perCrew })
	for _, crew := range crews {
		if n := crew.busy.Load(); n != perCrew {
			t.Errorf("%s has %d connections, want %d", crew.address, n, perCrew)
		}
	}
	if err := c.load("", slotsSite(port, to, 1)); err != nil {
		t.Fatal(err)
	}
	client := newGetter(t, url, soon, 0).client
	expect := func(want string) {
		t.Helper()
		if got, err := outcomeAfterReload(client, url); got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("503 queue_timeout")
	open[0].Close()
	eventually(t, "the slot is given back", func() bool { return c.slots() == 3*perCrew-1 })
	expect("200")
	for _, ws := range open {
		ws.Close()
	}
	c.expectFree(crews, url)
}

// TestOverloadLeavesNothing has many clients of an overload leave while they wait or
// are served, and reloads meanwhile: nothing is left of them.
func TestOverloadLeavesNothing(t *testing.T) {
	crews, to := startCrews(t)
	port := freePort(t)
	c := startCaddy(t, "", slotsSite(port, to, 0))
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	client := newGetter(t, url, soon, 0).client
	l := startRequests(t, threefold, func() (string, error) {
		// From before it can be served to after any that is served was.
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(500*time.Millisecond))))
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		res, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if ctx.Err() != nil {
			return "left", nil
		}
		if err != nil && dropped(err) { // see there
			return "dropped", nil
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprint(res.StatusCode), nil
	})
	for i := range 4 {
		<-time.After(500 * time.Millisecond) // the pace of the reloads, not a wait
		if err := c.load("", slotsSite(port, to, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	l.stop()
	l.mustNotFail()
	counts := l.counts()
	t.Logf("became of them: %v", counts)
	if counts["left"] == 0 || counts["200"] == 0 || counts["503"] == 0 {
		t.Errorf("became of them %v, want some that left, some answered and some refused", counts)
	}
	c.expectFree(crews, url)
}

// slots returns how many requests the pool counts as in flight.
func (c *caddyProcess) slots() (sum float64) {
	c.t.Helper()
	for _, n := range c.metric("requests_in_flight") {
		sum += n
	}
	return sum
}

// expectFree checks that nothing is in flight or waits, and that all slots can be
// taken, each once.
func (c *caddyProcess) expectFree(crews [3]*crew, url string) {
	c.t.Helper()
	c.quiet()
	if n := c.series("caddy_ballast_pool_queue_length"); n != 0 {
		c.t.Errorf("%v requests are in the queue", n)
	}
	eventually(c.t, "no backend has a request", func() bool { return total(crews, busy) == 0 })
	for _, crew := range crews {
		crew.serves(crew.work)
		crew.peak.Store(0)
	}
	release := hold(crews)
	client := newGetter(c.t, url, 2*soon, 0).client
	var all sync.WaitGroup
	for range 3 * perCrew {
		all.Go(func() {
			if got, err := outcome(client, url); got != "200" {
				c.t.Errorf("of as many as have a slot one ended as %q, %v", got, err)
			}
		})
	}
	eventually(c.t, "all slots are taken", func() bool { return total(crews, busy) == 3*perCrew })
	if got, err := outcome(client, url); got != "503 queue_timeout" {
		c.t.Errorf("one more ended as %q, %v", got, err)
	}
	for _, crew := range crews {
		if n := crew.peak.Load(); n != perCrew {
			c.t.Errorf("%s has had %d requests at a time, want %d", crew.address, n, perCrew)
		}
	}
	release()
	all.Wait()
	c.quiet()
}
