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

// stages are the stages at which a backend stops answering and keeps the connection open.
var stages = []struct {
	name string
	says func(net.Conn) // after the TLS handshake, if any; nil if it is not reached
	raw  string         // sent instead of a TLS handshake
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

// When a backend stops answering, at any stage of any check, the probe ends at the timeout, and
// leaks no connection and no goroutine.
func TestHangingProbesLeakNothing(t *testing.T) {
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
						return // never reached with TLS
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
						_, _ = io.Copy(io.Discard, c) // until it is closed
					})
					target.Scheme = strings.TrimPrefix(scheme, "TLS")
					for range 3 {
						// The end of the probe closes the connection, which is not the reason of the failure.
						if err := try(check, target); err == nil || strings.Contains(err.Error(), "closed network connection") {
							t.Errorf("got %v, want that there was no answer", err)
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

// A dial to a host that drops SYN packets ends at the timeout.
func TestDialsTimeOut(t *testing.T) {
	address := fullBacklog(t)
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

// fullBacklog returns the address of a listener with a full backlog: the kernel drops further SYN packets.
func fullBacklog(t *testing.T) string {
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
	t.Fatal("the backlog does not fill")
	return ""
}
