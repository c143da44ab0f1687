// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// rcaService returns the options of a gRPC server whose streams of load reports are f.
func rcaService(f func(s grpc.ServerStream, request []byte) error) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		if method != "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics" {
			return status.Error(grpccodes.Unimplemented, method)
		}
		var request []byte
		if err := s.RecvMsg(&request); err != nil {
			return err
		}
		return f(s, request)
	})}
}

func send(t *testing.T, s grpc.ServerStream, message string) {
	raw := []byte(message)
	if err := s.SendMsg(&raw); err != nil && s.Context().Err() == nil {
		t.Errorf("sending a report: %v", err)
	}
}

// Messages of a stream arrive unchanged over one connection, and the request has the interval. The
// end of a stream is reported, and Stop ends an open stream on both sides.
func TestLoadReports(t *testing.T) {
	checkLeaks(t)
	gone := make(chan struct{}, 1)
	asked := make(chan string, 10)
	calls := 0
	target := serveGRPC(t, "tcp", "127.0.0.1:0", nil, rcaService(func(s grpc.ServerStream, request []byte) error {
		asked <- hex.EncodeToString(request)
		if calls++; calls == 1 {
			send(t, s, "one")
			send(t, s, "bad")
			send(t, s, "two")
			return nil
		}
		send(t, s, "three")
		<-s.Context().Done()
		gone <- struct{}{}
		return nil
	})...)
	got, told := make(chan string, 10), make(chan error, 10)
	l := &LoadReports{Target: target, Interval: 100 * time.Millisecond, Changed: func(err error) { told <- err }, Receive: func(message []byte) error {
		got <- string(message)
		if string(message) == "bad" {
			return errors.New("bad report")
		}
		return nil
	}}
	l.Start()
	for _, want := range []string{"one", "bad", "two", "three"} {
		if m := receive(t, got); m != want {
			t.Errorf("got %q, want %q", m, want)
		}
	}
	// The invalid report is an error, the next one is valid; the end of the stream is an error, and
	// so on.
	for _, want := range []string{"bad report", "", "the backend ended the stream", ""} {
		if err := receive(t, told); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("Changed with %v, want %q", err, want)
		}
	}
	// Field 1 is a message of 7 bytes: 0 s, and 100,000,000 ns.
	for range 2 {
		if request := receive(t, asked); request != "0a07080010"+"80c2d72f" {
			t.Errorf("the request is %s", request)
		}
	}
	l.Stop()
	receive(t, gone)
	l.Stop()
}

func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing received within 20 s")
	}
	return v
}

// The errors of streams tell an operator what is wrong.
func TestLoadReportErrors(t *testing.T) {
	checkLeaks(t)
	large := bytes.Repeat([]byte("x"), maxReport+1)
	for _, tt := range []struct {
		name, want string
		target     func(t *testing.T) Target
	}{
		{"nobody listens", "connection refused", func(*testing.T) Target { return NewTarget("127.0.0.1:1", "", 0) }},
		{"no such service", "the backend has no xds.service.orca.v3.OpenRcaService service", func(t *testing.T) Target {
			return serveGRPC(t, "tcp", "127.0.0.1:0", healthOf)
		}},
		{"refused", "PermissionDenied: no", func(t *testing.T) Target {
			return serveGRPC(t, "tcp", "127.0.0.1:0", nil, rcaService(func(grpc.ServerStream, []byte) error { return status.Error(grpccodes.PermissionDenied, "no") })...)
		}},
		{"large", "ResourceExhausted: grpc: received message larger than max", func(t *testing.T) Target {
			return serveGRPC(t, "tcp", "127.0.0.1:0", nil, rcaService(func(s grpc.ServerStream, _ []byte) error {
				send(t, s, string(large))
				<-s.Context().Done()
				return nil
			})...)
		}},
		{"no TLS", "first record does not look like a TLS handshake", func(t *testing.T) Target {
			target := serveGRPC(t, "tcp", "127.0.0.1:0", healthOf)
			target.Scheme = "https"
			return target
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &LoadReports{Target: tt.target(t), Interval: time.Second}
			if err := l.call(t.Context(), func([]byte) { t.Error("received a report") }); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A failed stream is reopened after delays that double, up to 2 minutes, and start over after a
// report. A backend without the service is retried every minute or two.
func TestLoadReportsReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration
		began, fails, told := time.Now(), errors.New("refused"), 0
		l := &LoadReports{Interval: time.Second, Receive: func([]byte) error { return nil }, Changed: func(error) { told++ }}
		l.stream = func(_ context.Context, receive func([]byte)) error {
			mu.Lock()
			defer mu.Unlock()
			if at = append(at, time.Since(began)); len(at) == 12 {
				receive(nil)
			} else if len(at) == 13 {
				return errNoService
			}
			return fails
		}
		l.Start()
		time.Sleep(30 * time.Minute)
		l.Stop()
		if len(at) < 15 {
			t.Fatalf("%d streams", len(at))
		}
		longest := time.Second
		for i := 1; i < 15; i++ {
			switch i {
			case 12:
				longest = time.Second // after a report
			case 13:
				longest = 2 * time.Minute // after errNoService
			}
			if d := at[i] - at[i-1]; d < longest/2 || d > longest {
				t.Errorf("stream %d after %v, want %v to %v", i, d, longest/2, longest)
			}
			longest = min(2*longest, 2*time.Minute)
		}
		if told != 3 {
			t.Errorf("Changed was called %d times, want 3: failure, success, failure", told)
		}
	})
	lbtest.NoLeaks(t)
}

// Stop returns at whatever stage the backend goes silent, and leaks no connection.
func TestLoadReportsOfSilentBackends(t *testing.T) {
	checkLeaks(t)
	stop := func(t *testing.T, target Target, reached func()) {
		l := &LoadReports{
			Target: target, Interval: time.Second, Changed: func(error) {},
			Receive: func([]byte) error { t.Error("received a report"); return nil },
		}
		l.Start()
		reached()
		l.Stop()
	}
	for _, scheme := range []string{"", "https"} {
		for _, stage := range stages {
			t.Run(scheme+" "+stage.name, func(t *testing.T) {
				open, ended := make(chan struct{}, 10), make(chan struct{}, 10)
				target := talk(t, func(c net.Conn) {
					_, _ = io.WriteString(c, stage.raw)
					if stage.says != nil && scheme == "" {
						stage.says(c)
					}
					open <- struct{}{}
					_, _ = io.Copy(io.Discard, c) // until it is closed
					ended <- struct{}{}
				})
				target.Scheme = scheme
				stop(t, target, func() { receive(t, open) })
				receive(t, ended)
			})
		}
		t.Run(scheme+" nobody accepts", func(t *testing.T) { stop(t, NewTarget(fullBacklog(t), scheme, 0), func() {}) })
	}
}
