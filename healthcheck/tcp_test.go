// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// talk serves connections until the test ends.
func talk(t *testing.T, serve func(net.Conn)) Target {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); serve(conn) }()
		}
	}()
	return NewTarget(listener.Addr().String(), "", 0)
}

func TestTCP(t *testing.T) {
	for _, tt := range []struct {
		name, tokens string
		serve        func(net.Conn)
		want         string
	}{
		{"a connection is enough", "tcp", func(net.Conn) {}, ""},
		{"a greeting", "tcp {\n expect +OK\n}", func(c net.Conn) { _, _ = io.WriteString(c, "+OK ready\r\n") }, ""},
		{"another greeting", "tcp {\n expect +OK\n}", func(c net.Conn) { _, _ = io.WriteString(c, "-ERR\r\n") }, `got "-ERR\r\n", expected "+OK"`},
		{"an answer in two pieces", "tcp {\n send PING\\r\\n\n expect +PONG\\r\\n\n}", func(c net.Conn) {
			if line, _ := bufio.NewReader(c).ReadString('\n'); line != "PING\r\n" {
				return
			}
			_, _ = io.WriteString(c, "+PO")
			_, _ = io.WriteString(c, "NG\r\n")
		}, ""},
		{"an answer in two segments", "tcp {\n expect /^a.*z$/\n}", func(c net.Conn) {
			_, _ = io.WriteString(c, "a")
			<-time.After(30 * time.Millisecond)
			_, _ = io.WriteString(c, "z")
		}, ""},
		{"silence", "tcp {\n expect x\n timeout 50ms\n}", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, `no answer within 50ms: waiting for "x"`},
		{"an end without a word", "tcp {\n expect x\n}", func(net.Conn) {}, `the connection was closed before "x" was received`},
		{"another answer, and silence", "tcp {\n expect +PONG\n timeout 50ms\n}", func(c net.Conn) {
			_, _ = io.WriteString(c, "-LOADING Redis is loading the dataset in memory\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, `got "-LOADING Redis is loading the dataset in memory\r\n", expected "+PONG" within 50ms`},
		{"a long answer", "tcp {\n expect +PONG\n}", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("\x01", 4000)) },
			strings.Repeat(`\x01`, 31) + `…", expected "+PONG"`},
		{"a flood", "tcp {\n expect x\n}", func(c net.Conn) {
			for line := strings.Repeat(".", 1024); ; {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		}, `…", expected "x" in the first 65536 bytes`},
		{"no TLS there", "tcp {\n tls\n timeout 200ms\n}", func(c net.Conn) { _, _ = io.WriteString(c, "hello\n") }, "tls: first record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expectResult(t, try(provisioned(t, new(TCP), tt.tokens), talk(t, tt.serve)), tt.want)
		})
	}
}

func TestTCPWithTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().String()
	expectResult(t, try(provisioned(t, new(TCP), "tcp"), NewTarget(address, "https", 0)), "certificate")
	insecure := "tcp {\n tls {\n insecure_skip_verify\n }\n send \"GET / HTTP/1.0\\r\\n\\r\\n\"\n expect \"/^HTTP/1.. 200/\"\n}"
	expectResult(t, try(provisioned(t, new(TCP), insecure), NewTarget(address, "", 0)), "")
	expectResult(t, try(provisioned(t, new(TCP), insecure), NewTarget(address, "https", 0)), "")
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", `a\r\n`: "a\r\n", `\x00\t\\`: "\x00\t\\", `say "hi"\r`: "say \"hi\"\r", "two\nlines\\t": "two\nlines\t",
	} {
		if got, err := unescape(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{`\q`, `\x0`, `a\`} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("%q: accepted as %q", bad, got)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q is not named in %v", bad, err)
		}
	}
}

// A backend whose host name has several addresses passes at the first reachable one, which is
// dialed from then on.
func TestSeveralAddresses(t *testing.T) {
	target := talk(t, func(net.Conn) {})
	b := backend.New("web", backend.Endpoint{Address: "app.test:1"}, backend.NewState(), nil, nil)
	b.Resolve([]string{"127.0.0.77", "127.0.0.78", "127.0.0.1"}) // the first two have no listener
	_, port, _ := net.SplitHostPort(target.Address)
	expectResult(t, try(provisioned(t, new(TCP), "tcp"), NewTarget("app.test:"+port, "", 0).Of(b)), "")
	if b.IP() != "127.0.0.1" {
		t.Errorf("the dialed address is %s", b.IP())
	}
	b.Resolve([]string{"127.0.0.77"})
	expectResult(t, try(provisioned(t, new(TCP), "tcp"), NewTarget("app.test:"+port, "", 0).Of(b)), "refused")
}
