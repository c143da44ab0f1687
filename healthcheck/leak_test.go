// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// stages are how far a backend goes with a check before it stops, keeping the
// connection.
var stages = []struct {
	name string
	says func(net.Conn) // after TLS, if there is any; nil if it does not get there
	raw  string         // what it says in place of TLS
}{
	{"accepted", nil, ""},
	{"half a TLS record", nil, "\x16\x03\x03\x40\x00\x02"},
	{"TLS", func(net.Conn) {}, ""},
	{"half a header", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-") }, ""},
	{"half a body", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") }, ""},
	{"HTTP/2", func(c net.Conn) { _ = http2.NewFramer(c, c).WriteSettings() }, ""},
	{"a header in HTTP/2", func(c net.Conn) {
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = enc.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
		framer := http2.NewFramer(c, c)
		_ = framer.WriteSettings()
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		_ = framer.WriteData(1, false, []byte{0, 0, 0, 0, 2, 8})
	}, ""},
}

// A backend that stops, at whatever stage of whatever check, costs the timeout, and
// no connection and no goroutine stays.
func TestNothingIsLeftOfProbesThatHang(t *testing.T) {
	t.Run("checks", testProbesThatHang)
	lbtest.NoLeaks(t)
}

func testProbesThatHang(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	for _, tt := range []struct {
		tokens string
		new    func(*testing.T, string) Check
	}{
		{"http {\n expect_body never\n timeout 30ms\n}", func(t *testing.T, s string) Check { return provisioned(t, new(HTTP), s) }},
		{"http {\n follow_redirects\n method POST\n body x\n expect_body never\n timeout 30ms\n}", func(t *testing.T, s string) Check { return provisioned(t, new(HTTP), s) }},
		{"tcp {\n send x\n expect never\n timeout 30ms\n}", func(t *testing.T, s string) Check { return provisioned(t, new(TCP), s) }},
		{"grpc {\n timeout 30ms\n}", func(t *testing.T, s string) Check { return provisioned(t, new(GRPC), s) }},
		{"agent 1 {\n send x\n timeout 30ms\n}", func(t *testing.T, s string) Check { return provisioned(t, new(Agent), s) }},
	} {
		for _, scheme := range []string{"", "h2c", "https", "TLS"} {
			tokens := tt.tokens
			if scheme == "TLS" {
				tokens = strings.Replace(tokens, "{\n", "{\n tls {\n insecure_skip_verify\n }\n", 1)
			}
			for _, stage := range stages {
				t.Run(tt.tokens[:5]+scheme+" "+stage.name, func(t *testing.T) {
					t.Parallel()
					if strings.HasPrefix(tokens, "agent") && scheme != "" {
						return // never with TLS
					}
					check := tt.new(t, tokens)
					var open atomic.Int32
					target := talk(t, func(c net.Conn) {
						open.Add(1)
						defer open.Add(-1)
						_, _ = io.WriteString(c, stage.raw)
						if stage.says != nil && scheme == "TLS" {
							c = tls.Server(c, server.TLS)
						}
						if stage.says != nil {
							stage.says(c)
						}
						_, _ = io.Copy(io.Discard, c) // to its end
					})
					target.Scheme = strings.TrimPrefix(scheme, "TLS")
					for range 3 {
						if err := try(check, target); err == nil {
							t.Error("the probe passed")
						}
					}
					for deadline := time.Now().Add(10 * time.Second); open.Load() > 0; <-time.After(5 * time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatalf("%d connections are left", open.Load())
						}
					}
				})
			}
		}
	}
}

// A host that drops what would open a connection is called off at the timeout.
func TestDialsAreCalledOff(t *testing.T) {
	address := deaf(t)
	for _, c := range []Check{
		provisioned(t, new(HTTP), "http {\n timeout 30ms\n}"),
		provisioned(t, new(TCP), "tcp {\n timeout 30ms\n}"),
		provisioned(t, new(GRPC), "grpc {\n timeout 30ms\n}"),
	} {
		for _, scheme := range []string{"", "https", "h2c"} {
			expectResult(t, try(c, NewTarget(address, scheme, 0)), "no answer within 30ms")
		}
	}
	lbtest.NoLeaks(t)
}

// deaf returns an address at which nobody accepts, and the kernel has no room for
// connections that are to be accepted: it drops what would open one more.
func deaf(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 8 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the kernel takes any number of connections")
	return ""
}
