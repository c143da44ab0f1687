// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/binary"
	"math"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// anyCodec passes the bytes of messages.
type anyCodec struct{}

func (anyCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (anyCodec) Unmarshal([]byte, any) error   { return nil }
func (anyCodec) Name() string                  { return "proto" }

// reportOf returns an OrcaLoadReport with cpu_utilization 0.5, rps_fractional 100 and an entry of
// named_metrics, queue.
func reportOf(queue float64) []byte {
	double := func(tag byte, v float64) []byte {
		return binary.LittleEndian.AppendUint64([]byte{tag}, math.Float64bits(v))
	}
	entry := slices.Concat([]byte("\x0a\x05queue"), double(0x11, queue))
	return slices.Concat(double(0x09, 0.5), double(0x31, 100), []byte{0x42, byte(len(entry))}, entry)
}

// reporter is a gRPC server that reports its load out of band, on a loopback port.
type reporter struct {
	server  *grpc.Server
	streams atomic.Int32
}

func serveReports(t *testing.T, address string, message []byte) (*reporter, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := new(reporter)
	r.server = grpc.NewServer(grpc.ForceServerCodec(anyCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		r.streams.Add(1)
		defer r.streams.Add(-1)
		if err := s.RecvMsg(new([]byte)); err != nil {
			return err
		}
		for s.SendMsg(&message) == nil {
			select {
			case <-s.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		return s.Context().Err()
	}))
	go func() { _ = r.server.Serve(listener) }()
	t.Cleanup(r.server.Stop)
	return r, listener.Addr().String()
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// With orca_report, reports come without a request, each backend over a stream of its own: the
// weight is that of the metric. A backend that restarts is heard again; one that leaves, and all
// at the end of the configuration, are no longer. A reload hears them without a gap.
func TestOrcaReport(t *testing.T) {
	one, a := serveReports(t, "127.0.0.1:0", reportOf(0.25))
	two, b := serveReports(t, "127.0.0.1:0", reportOf(0.1))
	config := `{"transport":{"protocol":"http"},"dynamic_upstreams":{"source":"pool","name":"web",` + dials(a, b) + `,"orca_metric":"queue","orca_report":"100ms"}}`
	p, err := lbtest.Load(t, nil, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	weighs := func(address string, weight float64) func() bool {
		return func() bool {
			r := member(t, address).Reported()
			return r != nil && r.Weight == weight
		}
	}
	eventually(t, "a reports", weighs(a, 400)) // 100 a second at 0.25
	eventually(t, "b reports", weighs(b, 1000))
	one.server.Stop()
	eventually(t, "the failure is logged", func() bool {
		return slices.Contains(p.Logged("backend"), "load reports of the backend fail; trying again "+a)
	})
	one, _ = serveReports(t, a, reportOf(0.5))
	eventually(t, "a reports again", weighs(a, 200))
	if !slices.Contains(p.Logged("backend"), "load reports of the backend work again "+a) {
		t.Errorf("logged %q", p.Logged("backend"))
	}
	q, err := lbtest.Load(t, nil, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both configurations receive", func() bool { return two.streams.Load() == 2 })
	p.Close()
	eventually(t, "one does", func() bool { return two.streams.Load() == 1 })
	remove(t, b)
	eventually(t, "a removed backend is not heard", func() bool { return two.streams.Load() == 0 })
	q.Close()
	eventually(t, "the streams end with the configuration", func() bool { return one.streams.Load() == 0 })
	lbtest.NoLeaks(t)
}

// Streams of load reports follow the proxy's transport, as checks do.
func TestOrcaReportFollowsTheTransport(t *testing.T) {
	shared := app(`"web":{` + dials("a:1") + `,"orca_report":"1s"}`)
	const use = `"dynamic_upstreams":{"source":"pool","name":"web"}}`
	for _, tt := range []struct {
		want    string
		configs []string
	}{
		{"orca_report speaks gRPC, and backends behind `transport fastcgi` do not; remove it", []string{`{"transport":{"protocol":"fastcgi"},` + use}},
		{"orca_report does not support HTTP/3", []string{`{"transport":{"protocol":"http","versions":["3"],"tls":{}},` + use}},
		{"{http.request.host} depends on the request, which orca_report does not have; remove it",
			[]string{`{"transport":{"protocol":"http","tls":{"server_name":"{http.request.host}"}},` + use}},
		{"orca_report uses the settings of the transports of the pool's proxies, which differ in tls_server_name; write the same in all of them, or a pool for each",
			[]string{`{"transport":{"protocol":"http","tls":{"server_name":"x"}},` + use, `{"transport":{"protocol":"http","tls":{"server_name":"y"}},` + use}},
		{"orca_report must be a duration from 100ms to 1m", []string{strings.Replace(`{`+use, `"name":"web"`, dials("b:1")+`,"orca_report":"2m"`, 1)}},
	} {
		if _, err := lbtest.LoadAll(t, shared, nil, tt.configs...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	same := `{"transport":{"protocol":"http","tls":{"server_name":"x"}},` + use
	proxies, err := lbtest.LoadAll(t, shared, nil, same, same)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	proxies[0].Close()
	lbtest.NoLeaks(t)
}
