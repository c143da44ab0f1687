// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tcpClients hold connections through balance, on each of which they exchange messages all the time. The
// backends speak HTTP, since their answers tell who they are.
type tcpClients struct {
	t       *testing.T
	address string
	stopped atomic.Bool
	all     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	open  map[string]int
	cut   map[string]int // ended by others, by backend; "" before the first answer
	count int            // messages that were answered
}

// startTCPClients starts n clients, which end with the test.
func startTCPClients(t *testing.T, address string, n int) *tcpClients {
	l := &tcpClients{t: t, address: address, open: make(map[string]int), cut: make(map[string]int)}
	for range n {
		l.all.Go(func() {
			for !l.stopped.Load() {
				l.connect()
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *tcpClients) stop() {
	l.stopped.Store(true)
	l.all.Wait()
}

// connect holds one connection until it ends.
func (l *tcpClients) connect() {
	backend := ""
	conn, err := net.Dial("tcp", l.address)
	if err == nil {
		defer conn.Close()
		for in := bufio.NewReader(conn); err == nil && !l.stopped.Load(); <-time.After(5 * time.Millisecond) {
			var name string
			if name, err = exchange(conn, in); err != nil {
				break
			}
			l.mu.Lock()
			if backend == "" {
				l.open[name]++
			} else if name != backend {
				l.t.Errorf("a connection moves from %s to %s", backend, name)
			}
			l.count++
			l.mu.Unlock()
			backend = name
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if backend != "" {
		l.open[backend]--
	}
	if err != nil {
		l.cut[backend]++
	}
}

// exchange sends a message and reads the answer, the name of the backend.
func exchange(conn net.Conn, in *bufio.Reader) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: backend\r\n\r\n"); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return "", err
	}
	name, err := io.ReadAll(res.Body)
	return string(name), err
}

// cuts returns how many connections were ended by others, by backend, and forgets them.
func (l *tcpClients) cuts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	cut := l.cut
	l.cut = make(map[string]int)
	return cut
}

// at returns how many connections a backend has.
func (l *tcpClients) at(backend string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[backend]
}

// more waits until n more messages were answered.
func (l *tcpClients) more(n int) {
	l.t.Helper()
	l.mu.Lock()
	want := l.count + n
	l.mu.Unlock()
	eventually(l.t, "messages are answered", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.count >= want
	})
}

// tcpClientCount is how many connections each round of TestTCPCycles has.
const tcpClientCount = 30

// TestTCPCycles drains, hangs and kills backends and reloads Caddy under connections. None is cut but those
// of a backend that is killed, or that goes down in a pool with `on_down close`.
func TestTCPCycles(t *testing.T) {
	for _, onDown := range []string{"keep", "close"} {
		t.Run(onDown, func(t *testing.T) {
			t.Parallel()
			backends := startBackends(t, 3)
			// What hangs need not be noticed soon, but where only an answer takes a backend down, a slow
			// machine must not.
			timeout := map[string]string{"keep": "1s", "close": "20s"}[onDown]
			cycle := &tcpCycle{T: t, port: freePort(t), pool: "to " + addresses(backends) +
				"\nhealth http /health {\ninterval 100ms\ntimeout " + timeout + "\nfails 1\npasses 1\n}\noutliers off\non_down " + onDown}
			cycle.caddy = startTCP(t, cycle.port, cycle.pool, "")
			for round := range 3 {
				b := backends[round%3]
				cycle.begin(backends)
				cycle.drain(b)
				cycle.reload(round)
				if onDown == "keep" {
					cycle.hang(b)
					cycle.kill(b)
				} else {
					cycle.fail(b)
				}
				cycle.clients.stop()
				cycle.caddy.quiet()
			}
		})
	}
}

// tcpCycle is what happens to a backend and its connections.
type tcpCycle struct {
	*testing.T
	port    int
	pool    string
	caddy   *caddyProcess
	clients *tcpClients
}

// begin starts clients, and waits until they are connected, to all backends.
func (c *tcpCycle) begin(backends []*backend) {
	c.Helper()
	for _, b := range backends {
		c.await(b, 1)
	}
	c.clients = startTCPClients(c.T, fmt.Sprintf("127.0.0.1:%d", c.port), tcpClientCount)
	eventually(c, "all backends have connections", func() bool {
		sum, least := 0, tcpClientCount
		for _, b := range backends {
			n := c.clients.at(b.address)
			sum, least = sum+n, min(least, n)
		}
		return sum == tcpClientCount && least > 0
	})
}

// await waits until a backend is up, with 1, or down.
func (c *tcpCycle) await(b *backend, up float64) {
	c.Helper()
	eventually(c, fmt.Sprintf("up of the backend is %v", up), func() bool { return c.caddy.metric("up")[b.address] == up })
}

// cut compares how many connections of backends were cut.
func (c *tcpCycle) cut(what string, want map[string]int) {
	c.Helper()
	c.clients.more(4 * tcpClientCount)
	got := c.clients.cuts()
	if what == "kill" {
		// While a process ends, the kernel may accept connections for it after it has closed others.
		delete(got, "")
	}
	if !maps.Equal(got, want) {
		c.Fatalf("%s: connections of %v are cut, want %v", what, got, want)
	}
}

func (c *tcpCycle) drain(b *backend) {
	path := "pools/app/backends/" + url.PathEscape(b.address)
	c.caddy.must(http.StatusOK, http.MethodPatch, path, `{"state":"drain"}`)
	for range 10 {
		conn, err := net.Dial("tcp", c.clients.address)
		if err != nil {
			c.Fatal(err)
		}
		if name, err := exchange(conn, bufio.NewReader(conn)); err != nil || name == b.address {
			c.Errorf("a new connection goes to %q, which drains: %v", name, err)
		}
		conn.Close()
	}
	c.cut("drain", map[string]int{})
	if n, held := c.caddy.metric("requests_in_flight")[b.address], c.clients.at(b.address); n != float64(held) || held == 0 {
		c.Errorf("the backend that drains has %v connections, its clients have %d", n, held)
	}
	c.caddy.must(http.StatusOK, http.MethodPatch, path, `{"state":"ready"}`)
}

func (c *tcpCycle) reload(round int) {
	if err := c.caddy.load(tcpGlobal(c.port, c.pool, fmt.Sprintf("connect_timeout %ds", 4+round)), ""); err != nil {
		c.Fatal(err)
	}
	c.cut("reload", map[string]int{})
}

func (c *tcpCycle) hang(b *backend) {
	b.hang()
	c.await(b, 0)
	b.resume()
	c.await(b, 1)
	c.cut("hang", map[string]int{})
}

func (c *tcpCycle) kill(b *backend) {
	held := c.clients.at(b.address)
	b.kill()
	c.cut("kill", map[string]int{b.address: held})
	b.start()
}

// fail has the check of a backend fail, which serves as before.
func (c *tcpCycle) fail(b *backend) {
	held := c.clients.at(b.address)
	b.setHealth(http.StatusServiceUnavailable)
	c.await(b, 0)
	c.cut("down", map[string]int{b.address: held})
	b.setHealth(http.StatusOK)
}
