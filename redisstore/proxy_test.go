// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy passes connections on, and can swallow all bytes, as a network does that drops packets.
type proxy struct {
	address string
	port    string
	swallow atomic.Bool

	accepted atomic.Int64 // connections
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// startProxy starts a proxy that ends with the test.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := &proxy{address: l.Addr().String(), port: port, listener: l, target: target, open: make(map[net.Conn]struct{})}
	p.wg.Add(1)
	go p.serve()
	t.Cleanup(p.close)
	return p
}

func (p *proxy) serve() {
	defer p.wg.Done()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		p.track(conn)
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			defer p.end(conn)
			other, err := net.Dial("tcp", p.target)
			if err != nil {
				return
			}
			p.track(other)
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				p.copy(conn, other)
			}()
			p.copy(other, conn)
		}()
	}
}

// copy copies until one of the connections ends, and ends both.
func (p *proxy) copy(to, from net.Conn) {
	defer p.end(to)
	defer p.end(from)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.swallow.Load() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) track(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[conn] = struct{}{}
}

func (p *proxy) end(conn net.Conn) {
	p.mu.Lock()
	delete(p.open, conn)
	p.mu.Unlock()
	conn.Close()
}

// close ends the proxy and all connections.
func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for conn := range p.open {
		conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
