// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"
)

// network is a network in memory, so that connections take virtual time in a bubble of synctest. It has
// servers by address: functions that serve a connection, and end it when they return. There is no other
// address, but for those that hang: they never accept.
type network struct {
	mu      sync.Mutex
	servers map[string]func(net.Conn)
	hangs   map[string]bool
	dialed  map[string]int
}

// newNetwork returns a network of servers that send their address, and then echo.
func newNetwork(addresses ...string) *network {
	n := &network{servers: make(map[string]func(net.Conn)), hangs: make(map[string]bool), dialed: make(map[string]int)}
	for _, a := range addresses {
		n.serve(a, greets(a))
	}
	return n
}

// greets is a server that sends its name, and then echoes.
func greets(name string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, name+"\n")
		_, _ = io.Copy(conn, conn)
	}
}

// serve makes a server of an address, or none.
func (n *network) serve(address string, server func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[address] = server
}

// count returns how often an address was dialed.
func (n *network) count(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialed[address]
}

// counts returns count of all addresses, and begins anew.
func (n *network) counts() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.dialed)
	clear(n.dialed)
	return all
}

// DialContext implements dialer.
func (n *network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	serve, hangs := n.servers[address], n.hangs[address]
	n.dialed[address]++
	n.mu.Unlock()
	failed := func(err error) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: network, Err: err} }
	switch {
	case hangs:
		<-ctx.Done()
		return failed(os.ErrDeadlineExceeded)
	case serve == nil:
		return failed(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	near, far := newPipe("10.0.0.9:4000", "10.0.0.1:5432")
	go func() {
		defer func() { _ = far.Close() }()
		serve(far)
	}()
	return near, nil
}

// pipe is one end of a connection in memory: as a TCP connection, it can end its half alone.
type pipe struct {
	in, out       net.Conn
	local, remote net.Addr
	closed        func() bool
	close         func()
}

func newPipe(a, b string) (near, far *pipe) {
	toFar, fromNear := net.Pipe()
	toNear, fromFar := net.Pipe()
	from, to := address(a), address(b)
	return end(fromFar, toFar, from, to), end(fromNear, toNear, to, from)
}

func end(in, out net.Conn, local, remote net.Addr) *pipe {
	done := make(chan struct{})
	p := &pipe{in: in, out: out, local: local, remote: remote}
	p.close = sync.OnceFunc(func() { close(done); _ = in.Close(); _ = out.Close() })
	p.closed = func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	return p
}

func address(text string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		panic(err)
	}
	return a
}

// failure is err as TCP connections return it.
func (p *pipe) failure(err error) error {
	switch {
	case !errors.Is(err, io.ErrClosedPipe):
		return err
	case p.closed():
		return net.ErrClosed
	}
	return syscall.EPIPE
}

func (p *pipe) Read(b []byte) (int, error)  { n, err := p.in.Read(b); return n, p.failure(err) }
func (p *pipe) Write(b []byte) (int, error) { n, err := p.out.Write(b); return n, p.failure(err) }
func (p *pipe) Close() error                { p.close(); return nil }
func (p *pipe) CloseWrite() error           { return p.out.Close() }
func (p *pipe) LocalAddr() net.Addr         { return p.local }
func (p *pipe) RemoteAddr() net.Addr        { return p.remote }
func (p *pipe) SetDeadline(t time.Time) error {
	return errors.Join(p.in.SetReadDeadline(t), p.out.SetWriteDeadline(t))
}
func (p *pipe) SetReadDeadline(t time.Time) error  { return p.in.SetReadDeadline(t) }
func (p *pipe) SetWriteDeadline(t time.Time) error { return p.out.SetWriteDeadline(t) }

// caller is a connection of a client to a handler, in memory.
type caller struct {
	*pipe
	lines *bufio.Reader
	err   error         // of the handler, when it has ended
	ended chan struct{} // closed when the handler has ended
}

// call makes a connection through the handler, as caddy-l4's server does.
func (f *front) call() *caller { return f.callFrom("192.0.2.1:5000") }

func (f *front) callFrom(client string) *caller {
	local := "198.51.100.1:5432"
	if strings.HasPrefix(client, "[") {
		local = "[2001:db8::1]:5432"
	}
	near, far := newPipe(client, local)
	c := &caller{pipe: near, lines: bufio.NewReader(near), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.err = f.handler.Handle(layer4.WrapConnection(far, nil, zap.NewNop()), nil)
		_ = far.Close()
	}()
	return c
}

// line returns the next line, or the error.
func (c *caller) line() string {
	text, err := c.lines.ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(text)
}

// say sends a line, and returns the next.
func (c *caller) say(text string) string {
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "error: " + err.Error()
	}
	return c.line()
}

// over reports whether the connection has ended.
func (c *caller) over() bool {
	synctest.Wait()
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// hangUp ends the connection, and returns the handler's error.
func (c *caller) hangUp() error {
	_ = c.Close()
	<-c.ended
	return c.err
}

// virtual runs a test in virtual time, with a handler in front of a pool on a network in memory.
func virtual(t *testing.T, n *network, poolConfig, more string, test func(t *testing.T, f *front)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, n.load(t, poolConfig, more))
	})
}

// load loads a configuration whose handler dials on the network.
func (n *network) load(t testing.TB, poolConfig, more string) *front {
	t.Helper()
	f, err := load(t, poolConfig, more)
	if err != nil {
		t.Fatal(err)
	}
	f.handler.dialer = n
	return f
}

// at is the configuration of a pool of the addresses, which are their ids, too.
func at(more string, addresses ...string) string {
	var all []*server
	for _, a := range addresses {
		all = append(all, &server{name: a, address: a})
	}
	return to(more, all...)
}
