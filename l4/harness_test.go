// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	_ "github.com/ballast-lb/caddy-ballast"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// server is a backend on a port of its own. By default it sends its name, and then echoes lines.
type server struct {
	name, address string
	serve         func(net.Conn)
	accepted      atomic.Int64

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

func newServer(t testing.TB, name string, serve func(net.Conn)) *server {
	t.Helper()
	return newServerAt(t, "127.0.0.1:0", name, serve)
}

func newServerAt(t testing.TB, address, name string, serve func(net.Conn)) *server {
	t.Helper()
	s := &server{name: name, serve: serve, conns: make(map[net.Conn]bool)}
	if serve == nil {
		s.serve = func(conn net.Conn) {
			_, _ = io.WriteString(conn, name+"\n")
			_, _ = io.Copy(conn, conn)
		}
	}
	s.start(t, address)
	t.Cleanup(s.kill)
	return s
}

func (s *server) start(t testing.TB, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.listener, s.address = l, l.Addr().String()
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			go func() {
				s.serve(conn)
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
				_ = conn.Close()
			}()
		}
	}()
}

// kill resets all connections, and refuses new ones.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.listener.Close()
	for conn := range s.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	clear(s.conns)
}

// front accepts connections for a handler, as caddy-l4's server does.
type front struct {
	*lbtest.Config
	handler  *Handler
	listener net.Listener
	failures atomic.Int64
	latest   atomic.Value // the latest error
	serving  sync.WaitGroup
	prefetch atomic.Int32 // bytes to read before the handler, as matchers do
}

// start loads a configuration with the pool "db" in a Caddyfile's words, and more options of the handler in JSON.
func start(t testing.TB, poolConfig, more string) *front {
	t.Helper()
	f, err := load(t, poolConfig, more)
	if err != nil {
		t.Fatal(err)
	}
	f.listen(t)
	return f
}

func load(t testing.TB, poolConfig, more string) (*front, error) {
	f := new(front)
	var err error
	f.Config, err = lbtest.LoadConfig(t, caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"db":` + poolConfig + `}}`)}, nil, func(ctx caddy.Context) error {
		if more != "" {
			more = "," + more
		}
		mod, err := ctx.LoadModuleByID("layer4.handlers.balance", json.RawMessage(`{"pool":"db"`+more+`}`))
		if err == nil {
			f.handler = mod.(*Handler)
		}
		return err
	})
	return f, err
}

func (f *front) listen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.listener = l
	t.Cleanup(func() {
		_ = l.Close()
		f.serving.Wait()
	})
	f.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serving.Go(func() {
				defer func() { _ = conn.Close() }()
				buf := make([]byte, 0, 2048)
				if first := int(f.prefetch.Load()); first > 0 {
					n, _ := io.ReadFull(conn, buf[:first])
					buf = buf[:n]
				}
				if err := f.handler.Handle(layer4.WrapConnection(conn, buf, zap.NewNop()), nil); err != nil {
					f.failures.Add(1)
					f.latest.Store(err)
				}
			})
		}
	})
}

// client is a connection to a front.
type client struct {
	*net.TCPConn
	lines *bufio.Reader
}

func (f *front) dial(t testing.TB) *client {
	t.Helper()
	conn, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// line returns the next line, or the error.
func (c *client) line() string {
	text, err := c.lines.ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(text)
}

// say sends a line, and returns the next.
func (c *client) say(text string) string {
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "error: " + err.Error()
	}
	return c.line()
}

// ended reports whether the connection ends within d.
func (c *client) ended(d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, err := c.lines.ReadByte()
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// to is the configuration of a pool of servers.
func to(more string, servers ...*server) string {
	var all []string
	for _, s := range servers {
		all = append(all, fmt.Sprintf(`{"dial":%q,"id":%q}`, s.address, s.name))
	}
	if more != "" {
		more = "," + more
	}
	return `{"backends":[` + strings.Join(all, ",") + `]` + more + `}`
}

func (f *front) backend(t testing.TB, id string) *backend.Backend {
	t.Helper()
	for _, b := range pool.Current("db").View().Members.All {
		if b.ID == id {
			return b
		}
	}
	t.Fatalf("there is no backend %s", id)
	return nil
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

func TestMain(m *testing.M) { lbtest.Main(m) }
