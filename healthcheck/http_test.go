// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// provisioned returns a check from Caddyfile tokens.
func provisioned[C interface {
	Check
	caddyfile.Unmarshaler
	caddy.Provisioner
}](t *testing.T, c C, tokens string) C {
	t.Helper()
	if err := c.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens)); err != nil {
		t.Fatal(err)
	}
	if err := c.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// try probes once within the check's timeout.
func try(c Check, t Target) error {
	return within(context.Background(), &User{Check: c, Target: t}, func(ctx context.Context) error { return c.Probe(ctx, t) })
}

// expectResult checks a probe's result: want is part of the error, or empty.
func expectResult(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all is well") })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) { // one byte at a time, forever
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, ".")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), maxRead))
		_, _ = io.WriteString(w, "needle")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.Host, r.URL.RawQuery, r.Header.Get("X-Token"), r.UserAgent(), body)
	})
	t.Setenv("BALLAST_TOKEN", "s3cret")
	server := httptest.NewServer(mux)
	defer server.Close()
	target := NewTarget(server.Listener.Addr().String(), "", 0)

	for _, tt := range []struct{ tokens, want string }{
		{"http /ok", ""},
		{"http", "status 404, expected 2xx"},
		{"http {\n uri /ok\n}", ""},
		{"http / {\n expect_status 200-399 404\n}", ""},
		{"http / {\n expect_status 4xx\n}", ""},
		{"http /echo {\n header X-Token \"Bearer {env.BALLAST_TOKEN}\"\n body {env.BALLAST_TOKEN}\n expect_body \"Bearer s3cret .* s3cret$\"\n}", ""},
		{"http /echo {\n body `{\"a\": {\"b\": 1}}`\n expect_body `{\"a\": {\"b\": 1}}$`\n}", ""},
		{"http /moved", "status 302"},
		{"http /moved {\n follow_redirects\n}", ""},
		{"http /loop {\n follow_redirects\n}", "stopped after 10 redirects"},
		{"http /ok {\n expect_body well$\n}", ""},
		{"http /ok {\n expect_body ^well\n}", "does not match"},
		{"http /large", ""},
		{"http /large {\n expect_body needle\n}", "does not match"},
		{"http /hang {\n timeout 50ms\n}", "no answer within 50ms"},
		{"http /drip {\n timeout 50ms\n expect_body never\n}", "no answer within 50ms"},
		{"http /echo?a=b {\n method PUT\n host example.com\n header X-Token t\n body data\n expect_body \"^PUT example.com a=b t Caddy-Ballast data$\"\n}", ""},
		{"http /echo {\n header Host example.com\n expect_body \"^GET example.com \"\n}", ""},
		{"http /echo {\n header hOST example.com:81\n expect_body \"^GET example.com:81 \"\n}", ""},
		{"http /echo {\n body data\n expect_body \"^POST 127.0.0.1:[0-9]+ .*data$\"\n}", ""},
	} {
		t.Run(tt.tokens, func(t *testing.T) {
			expectResult(t, try(provisioned(t, new(HTTP), tt.tokens), target), tt.want)
		})
	}
}

func TestHTTPRefusedAndOtherPort(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	expectResult(t, try(provisioned(t, new(HTTP), "http"), NewTarget(closed.Addr().String(), "", 0)), "refused")
	c := provisioned(t, new(HTTP), "http {\n port "+port+"\n}")
	expectResult(t, try(c, NewTarget(closed.Addr().String(), "", c.Port)), "")
}

// A probe of a backend that accepts the connection but sends nothing ends at the timeout.
func TestHTTPHalfOpen(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	expectResult(t, try(provisioned(t, new(HTTP), "http {\n timeout 50ms\n}"), NewTarget(silent.Addr().String(), "", 0)), "no answer within 50ms")
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.ServerName, " ", r.Proto)
	}))
	defer server.Close()
	server.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	address := server.Listener.Addr().String()
	for _, tt := range []struct{ tokens, scheme, want string }{
		{"http", "https", "certificate"},
		{"http {\n tls {\n insecure_skip_verify\n }\n}", "https", ""},
		{"http {\n tls {\n insecure_skip_verify\n }\n}", "", ""}, // the block turns it on
		{"http {\n tls {\n ca " + ca + "\n }\n}", "https", ""},
		{"http {\n tls {\n ca " + ca + "\n server_name example.com\n }\n expect_body ^example.com\n}", "https", ""},
		{"http {\n tls {\n ca " + ca + "\n server_name elsewhere.org\n }\n}", "https", "elsewhere.org"},
		{"http", "", "status 400"}, // cleartext to a TLS port
	} {
		t.Run(tt.tokens+tt.scheme, func(t *testing.T) {
			expectResult(t, try(provisioned(t, new(HTTP), tt.tokens), NewTarget(address, tt.scheme, 0)), tt.want)
		})
	}
}

func TestHTTPOverUnixSocketAndH2C(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP1(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " ", r.Proto)
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	expectResult(t, try(provisioned(t, new(HTTP), "http {\n expect_body \"localhost HTTP/1.1\"\n}"), NewTarget("unix/"+socket, "", 0)), "")
	expectResult(t, try(provisioned(t, new(HTTP), "http {\n expect_body \"localhost HTTP/2.0\"\n}"), NewTarget("unix/"+socket, "h2c", 0)), "")
}

func TestTargetAddress(t *testing.T) {
	for _, tt := range []struct {
		address string
		port    int
		dial    string
		host    string
	}{
		{"10.0.0.1:80", 0, "10.0.0.1:80", "10.0.0.1:80"},
		{"10.0.0.1:80", 8081, "10.0.0.1:8081", "10.0.0.1:8081"},
		{"[::1]:443", 0, "[::1]:443", "[::1]:443"},
		{"tcp4/app:80", 0, "app:80", "app:80"},
		{":9000", 0, ":9000", "localhost:9000"},
		{"unix//run/app.sock", 9, "/run/app.sock", "localhost"},
	} {
		got := NewTarget(tt.address, "", tt.port)
		if got.Address != tt.dial || got.hostPort() != tt.host {
			t.Errorf("%s with port %d: dials %s as %s, want %s as %s", tt.address, tt.port, got.Address, got.hostPort(), tt.dial, tt.host)
		}
	}
}
