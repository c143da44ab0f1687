// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// serveGRPC serves gRPC until the test ends; register may be nil.
func serveGRPC(t *testing.T, network, address string, register func(*grpc.Server), opts ...grpc.ServerOption) Target {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(opts...)
	if register != nil {
		register(server)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	if network == "unix" {
		return NewTarget("unix/"+address, "", 0)
	}
	return NewTarget(listener.Addr().String(), "", 0)
}

// checkLeaks fails the test if goroutines of gRPC or Ballast remain after the servers that are
// started from now on have stopped.
func checkLeaks(t *testing.T) {
	t.Cleanup(func() {
		lbtest.NoLeaks(t)
		noGRPC(t)
	})
}

// noGRPC is [lbtest.NoLeaks] for gRPC's goroutines.
func noGRPC(t *testing.T) {
	t.Helper()
	var left []string
	for range 500 {
		left = nil
		var buf bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&buf, 2)
		for i, stack := range strings.Split(buf.String(), "\n\n") {
			if i > 0 && strings.Contains(stack, "google.golang.org/grpc") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
}

// healthOf registers a health service in which "on" is serving and "off" is not.
func healthOf(s *grpc.Server) {
	h := health.NewServer()
	h.SetServingStatus("on", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("off", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("odd", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	grpc_health_v1.RegisterHealthServer(s, h)
}

func TestGRPC(t *testing.T) {
	checkLeaks(t)
	target := serveGRPC(t, "tcp", "127.0.0.1:0", healthOf)
	h2c := target
	h2c.Scheme = "h2c"
	for tokens, want := range map[string]string{
		"grpc":                         "",
		"grpc on":                      "",
		"grpc {\n service on\n}":       "",
		"grpc off":                     `service "off" is NOT_SERVING`,
		"grpc odd":                     `service "odd" is UNKNOWN`,
		"grpc other":                   `unknown service "other"`,
		"grpc {\n tls\n}":              "tls: first record does not look like a TLS handshake",
		"grpc other {\n port 65535\n}": `unknown service "other"`,
	} {
		expectResult(t, try(provisioned(t, new(GRPC), tokens), target), want)
		expectResult(t, try(provisioned(t, new(GRPC), tokens), h2c), want)
	}
}

func TestGRPCWholeBackendNotServing(t *testing.T) {
	h := health.NewServer()
	target := serveGRPC(t, "tcp", "127.0.0.1:0", func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, h) })
	c := provisioned(t, new(GRPC), "grpc")
	expectResult(t, try(c, target), "")
	h.Shutdown()
	expectResult(t, try(c, target), "the backend is NOT_SERVING")
	h.Resume()
	expectResult(t, try(c, target), "")
}

func TestGRPCWithoutHealthService(t *testing.T) {
	target := serveGRPC(t, "tcp", "127.0.0.1:0", nil)
	expectResult(t, try(provisioned(t, new(GRPC), "grpc"), target), "the backend has no grpc.health.v1 service")
}

// answering is a health service with an answer of the test.
type answering struct {
	grpc_health_v1.UnimplementedHealthServer
	check func(context.Context) (*grpc_health_v1.HealthCheckResponse, error)
}

func (a answering) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return a.check(ctx)
}

func (a answering) register(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, a) }

func TestGRPCOddAnswers(t *testing.T) {
	checkLeaks(t)
	serving := &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
	large := &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
	large.ProtoReflect().SetUnknown(append([]byte{0x7a, 0x80, 0x80, 0x08}, make([]byte, 128<<10)...)) // field 15, 128 KiB
	for _, tt := range []struct {
		name  string
		check func(context.Context) (*grpc_health_v1.HealthCheckResponse, error)
		want  string
	}{
		{"nothing set", func(context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return new(grpc_health_v1.HealthCheckResponse), nil
		}, "the backend is UNKNOWN"},
		{"a status that is not known", func(context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return &grpc_health_v1.HealthCheckResponse{Status: 77}, nil
		}, "the backend is 77"},
		{"an error", func(context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return nil, status.Error(grpccodes.PermissionDenied, "no token")
		}, "PermissionDenied: no token"},
		{"unavailable", func(context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return nil, status.Error(grpccodes.Unavailable, "starting")
		}, "Unavailable: starting"},
		{"too much", func(context.Context) (*grpc_health_v1.HealthCheckResponse, error) { return large, nil }, "ResourceExhausted: "},
		{"none", func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			if _, told := ctx.Deadline(); told { // the backend could end the call before the probe does
				return nil, status.Error(grpccodes.DeadlineExceeded, "told when to end")
			}
			<-ctx.Done()
			return serving, nil
		}, "no answer within 50ms: context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := "grpc"
			if tt.name == "none" {
				tokens = "grpc {\n timeout 50ms\n}"
			}
			var calls atomic.Int32
			target := serveGRPC(t, "tcp", "127.0.0.1:0", answering{check: func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
				calls.Add(1)
				return tt.check(ctx)
			}}.register)
			expectResult(t, try(provisioned(t, new(GRPC), tokens), target), tt.want)
			if n := calls.Load(); n != 1 {
				t.Errorf("called %d times", n)
			}
		})
	}
}

// connections counts the connections of a server, and reports the end of each.
type connections struct {
	stats.Handler // nil: calls are not counted
	begun         atomic.Int32
	ended         chan struct{}
}

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
	case *stats.ConnEnd:
		c.ended <- struct{}{}
	}
}

// Each probe opens a connection and closes it.
func TestGRPCConnections(t *testing.T) {
	checkLeaks(t)
	conns := &connections{ended: make(chan struct{}, 9)}
	target := serveGRPC(t, "tcp", "127.0.0.1:0", healthOf, grpc.StatsHandler(conns))
	for _, tokens := range []string{"grpc", "grpc", "grpc off", "grpc other"} {
		before := conns.begun.Load()
		_ = try(provisioned(t, new(GRPC), tokens), target)
		<-conns.ended
		if n := conns.begun.Load() - before; n != 1 {
			t.Errorf("%s: %d connections", tokens, n)
		}
	}
}

// The :authority is the same as in requests of the proxy, whatever the dialed address.
func TestGRPCAuthority(t *testing.T) {
	checkLeaks(t)
	var got atomic.Pointer[metadata.MD]
	register := answering{check: func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got.Store(&md)
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
	}}.register
	tcp := serveGRPC(t, "tcp", "127.0.0.1:0", register)
	_, port, _ := net.SplitHostPort(tcp.Address)
	certificate, _ := selfSigned(t)
	encrypted := serveGRPC(t, "tcp", "127.0.0.1:0", register, grpc.Creds(credentials.NewServerTLSFromCert(certificate)))
	for _, tt := range []struct {
		tokens string
		target Target
		want   string
	}{
		{"grpc", tcp, tcp.Address},
		{"grpc", NewTarget(":"+port, "", 0), "localhost:" + port},
		{"grpc", serveGRPC(t, "unix", filepath.Join(t.TempDir(), "s"), register), "localhost"},
		{"grpc {\n tls {\n server_name example.com\n insecure_skip_verify\n }\n}", encrypted, encrypted.Address},
	} {
		t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
		expectResult(t, try(provisioned(t, new(GRPC), tt.tokens), tt.target), "")
		md := *got.Load()
		if authority, agent := strings.Join(md[":authority"], " "), strings.Join(md["user-agent"], " "); authority != tt.want || !strings.HasPrefix(agent, "Caddy-Ballast") {
			t.Errorf("authority %q, user agent %q, want %q", authority, agent, tt.want)
		}
	}
}

// selfSigned returns a certificate of example.com, 127.0.0.1 and ::1, and a file
// that holds it.
func selfSigned(t *testing.T) (*tls.Certificate, string) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return &server.TLS.Certificates[0], file
}

func TestGRPCWithTLS(t *testing.T) {
	checkLeaks(t)
	certificate, ca := selfSigned(t)
	plain := serveGRPC(t, "tcp", "127.0.0.1:0", healthOf, grpc.Creds(credentials.NewServerTLSFromCert(certificate)))
	https := plain
	https.Scheme = "https"
	named := https
	named.Host = "elsewhere.org" // as if its address were that name
	for _, tt := range []struct {
		tokens string
		target Target
		want   string
	}{
		{"grpc", https, "certificate"},
		{"grpc {\n tls\n}", plain, "certificate"},
		{"grpc {\n tls {\n insecure_skip_verify\n }\n}", https, ""},
		{"grpc {\n tls {\n insecure_skip_verify\n }\n}", plain, ""},
		{"grpc off {\n tls {\n insecure_skip_verify\n }\n}", plain, "NOT_SERVING"},
		{"grpc {\n tls {\n ca " + ca + "\n }\n}", https, ""},
		{"grpc {\n tls {\n ca " + ca + "\n }\n}", named, "elsewhere.org"},
		{"grpc {\n tls {\n ca " + ca + "\n server_name example.com\n }\n}", named, ""},
		{"grpc {\n tls {\n ca " + ca + "\n server_name elsewhere.org\n }\n}", https, "elsewhere.org"},
		{"grpc {\n timeout 200ms\n}", plain, "Unavailable: "}, // cleartext to a TLS port
	} {
		t.Run(tt.tokens, func(t *testing.T) {
			expectResult(t, try(provisioned(t, new(GRPC), tt.tokens), tt.target), tt.want)
		})
	}
}

// The error for TLS without HTTP/2 says that the port does not support gRPC.
func TestGRPCWithOtherTLS(t *testing.T) {
	checkLeaks(t)
	certificate, _ := selfSigned(t)
	for want, protocols := range map[string][]string{
		"does not offer HTTP/2":   nil,
		"no application protocol": {"http/1.1"},
	} {
		target := talk(t, func(c net.Conn) {
			_, _ = io.Copy(io.Discard, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: protocols}))
		})
		expectResult(t, try(provisioned(t, new(GRPC), "grpc {\n tls {\n insecure_skip_verify\n }\n}"), target), want)
	}
}

// The listener may not be a gRPC server.
func TestGRPCOfOtherServers(t *testing.T) {
	checkLeaks(t)
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	http1 := httptest.NewServer(http.NotFoundHandler())
	defer http1.Close()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	http2 := httptest.NewUnstartedServer(http.NotFoundHandler())
	http2.Config.Protocols = protocols
	http2.Start()
	defer http2.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are established in the backlog, but never accepted
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var conns atomic.Int32
	for _, tt := range []struct {
		name, tokens string
		target       Target
		want         string
	}{
		{"nobody", "grpc", refusing(t), "connect: connection refused"},
		{"a server of HTTP/1", "grpc", NewTarget(http1.Listener.Addr().String(), "", 0), "HTTP/1.1"},
		{"a server of HTTP/2", "grpc", NewTarget(http2.Listener.Addr().String(), "", 0), "no grpc.health.v1 service: unexpected HTTP status code received from server: 404"},
		{"half open", "grpc {\n timeout 50ms\n}", NewTarget(silent.Addr().String(), "", 0), "no answer within 50ms: context deadline exceeded"},
		{"half open, with TLS", "grpc {\n timeout 50ms\n tls\n}", NewTarget(silent.Addr().String(), "", 0), "no answer within 50ms: context deadline exceeded"},
		{"accepts and reads", "grpc {\n timeout 50ms\n}", talk(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "no answer within 50ms"},
		{"begins and stops", "grpc {\n timeout 50ms\n}", talk(t, func(c net.Conn) {
			_, _ = io.WriteString(c, settings)
			_, _ = io.Copy(io.Discard, c)
		}), "no answer within 50ms"},
		{"accepts and closes", "grpc", talk(t, func(net.Conn) {}), "Unavailable: "},
		{"speaks first", "grpc", talk(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example.com ready\r\n") }), "Unavailable: "},
		{"sends GOAWAY", "grpc", talk(t, func(c net.Conn) { // gRPC would retry the call
			conns.Add(1)
			_, _ = io.WriteString(c, settings+"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00") // GOAWAY
			_, _ = io.Copy(io.Discard, c)
		}), "the backend closed the connection"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expectResult(t, try(provisioned(t, new(GRPC), tt.tokens), tt.target), tt.want)
		})
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for one probe", n)
	}
}

// A canceled probe ends at any stage.
func TestGRPCCanceled(t *testing.T) {
	checkLeaks(t)
	asked := make(chan struct{})
	target := serveGRPC(t, "tcp", "127.0.0.1:0", answering{check: func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}}.register)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := provisioned(t, new(GRPC), "grpc").Probe(ctx, target); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestGRPCRefused(t *testing.T) {
	for tokens, want := range map[string]string{
		"grpc a b":                          "unexpected argument \"b\"",
		"grpc \"a b\"":                      "service must be a name such as shop.v1.Orders, got \"a b\"",
		"grpc \"a\tb\"":                     "service must be a name",
		"grpc \"a\x7f\"":                    "service must be a name",
		"grpc \"a\u00a0\"":                  "service must be a name",
		"grpc {\n service \"a\x00\"\n}":     "service must be a name",
		"grpc a {\n service b\n}":           "service is given twice; write it once, behind `health grpc` or in the block",
		"grpc {\n service a\n service b\n}": "twice",
		"grpc {\n service\n}":               "text is missing",
		"grpc {\n uri /\n}":                 "unrecognized option \"uri\"",
		"grpc {\n tls {\n alpn h2\n }\n}":   "unrecognized option \"alpn\"",
	} {
		err := new(GRPC).UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: got %v, want %q with file and line", tokens, err, want)
		}
	}
	for want, c := range map[string]*GRPC{
		"got \"a\\nb\"":  {Service: "a\nb"},
		"got \"a\\xff\"": {Service: "a\xff"},
		"fails must be":  {Schedule: Schedule{Fails: -1}},
		"reading ca":     {TLS: &TLS{CA: filepath.Join(t.TempDir(), "none.pem")}},
	} {
		if err := c.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
