// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4proxyprotocol"
	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"
)

// readsHeader is a server that sends what it has read of a PROXY header, and then echoes.
func readsHeader(conn net.Conn) {
	r := bufio.NewReader(conn)
	header, err := proxyproto.Read(r)
	if err != nil {
		_, _ = fmt.Fprintln(conn, "no header:", err)
		return
	}
	_, _ = fmt.Fprintln(conn, "version", header.Version, header.TransportProtocol == proxyproto.TCPv6, header.SourceAddr, header.DestinationAddr)
	_, _ = io.Copy(conn, r)
}

// The backend reads the addresses of the client and of Caddy, in both versions and families, and then the
// bytes of the client, whose header is not one of them.
func TestProxyProtocol(t *testing.T) {
	for _, tt := range []struct{ version, client, want string }{
		{"v1", "192.0.2.7:5001", "version 1 false 192.0.2.7:5001 198.51.100.1:5432"},
		{"v2", "192.0.2.7:5001", "version 2 false 192.0.2.7:5001 198.51.100.1:5432"},
		{"v1", "[2001:db8::7]:5001", "version 1 true [2001:db8::7]:5001 [2001:db8::1]:5432"},
		{"v2", "[2001:db8::7]:5001", "version 2 true [2001:db8::7]:5001 [2001:db8::1]:5432"},
	} {
		t.Run(tt.version+" "+tt.client, func(t *testing.T) {
			n := newNetwork()
			n.serve("a:1", readsHeader)
			virtual(t, n, at("", "a:1"), fmt.Sprintf(`"proxy_protocol":%q`, tt.version), func(t *testing.T, f *front) {
				c := f.callFrom(tt.client)
				if got := c.line() + ", " + c.say("hello"); got != tt.want+", hello" {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				_ = c.hangUp()
				if sent := f.backend(t, "a:1").Traffic.Totals().Sent; sent != 6 {
					t.Errorf("%d bytes of the client are counted, want 6", sent)
				}
			})
		})
	}
}

// A header that the client has sent, and caddy-l4 has read, is the one that is passed on.
func TestProxyProtocolIsPassedOn(t *testing.T) {
	n := newNetwork()
	n.serve("a:1", readsHeader)
	virtual(t, n, at("", "a:1"), `"proxy_protocol":"v2"`, func(t *testing.T, f *front) {
		before := new(l4proxyprotocol.Handler)
		before.Allow = []string{"192.0.2.0/24"}
		if err := before.Provision(f.Context()); err != nil {
			t.Fatal(err)
		}
		near, far := newPipe("192.0.2.1:5000", "198.51.100.1:5432")
		c := &caller{pipe: near, lines: bufio.NewReader(near), ended: make(chan struct{})}
		go func() {
			defer close(c.ended)
			c.err = before.Handle(layer4.WrapConnection(far, nil, zap.NewNop()), layer4.HandlerFunc(func(cx *layer4.Connection) error {
				return f.handler.Handle(cx, nil)
			}))
			_ = far.Close()
		}()
		_, _ = io.WriteString(c, "PROXY TCP4 203.0.113.9 203.0.113.1 7777 443\r\n")
		if got, want := c.line(), "version 2 false 203.0.113.9:7777 203.0.113.1:443"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := c.say("hello"); got != "hello" {
			t.Errorf("got %q", got)
		}
		if err := c.hangUp(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// A backend that does not read the header costs the time to connect.
func TestProxyProtocolIsNotRead(t *testing.T) {
	n := newNetwork("b:1")
	n.serve("a:1", func(net.Conn) { time.Sleep(time.Minute) })
	n.serve("b:1", readsHeader)
	virtual(t, n, at("", "a:1", "b:1"), `"proxy_protocol":"v1","selection_policy":{"policy":"wrr"},"connect_timeout":"2s"`, func(t *testing.T, f *front) {
		began := time.Now()
		for n.count("a:1") == 0 { // wrr gives it the first try of every other
			c := f.call()
			if got := c.line(); !strings.HasPrefix(got, "version 1") {
				t.Errorf("got %q", got)
			}
			_ = c.hangUp()
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Minute)
	})
}
