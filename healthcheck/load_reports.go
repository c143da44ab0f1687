// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// LoadReports receives the load reports that a backend sends out of band (gRFC A51): a stream of
// its gRPC service xds.service.orca.v3.OpenRcaService, over its own connection, with reconnects.
// The exported fields are set before Start, and Receive and Changed are called on one goroutine.
type LoadReports struct {
	// Target is the backend.
	Target Target
	// Interval is the time between two reports that is requested from the backend.
	Interval time.Duration
	// Delay is the time until the first connection.
	Delay time.Duration
	// Receive is called with each message, an OrcaLoadReport in protobuf. It returns an error for
	// an invalid one, which does not end the stream.
	Receive func(message []byte) error
	// Changed is called with the error when reports fail, and with nil when they resume.
	Changed func(err error)

	stream func(ctx context.Context, receive func(message []byte)) error // replaced by tests
	failed bool
	cancel context.CancelFunc
	ended  chan struct{}
}

const (
	streamMethod = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
	// maxReport is the maximum size of a message in bytes, as for a report in a response.
	maxReport = 8 << 10
	// connectTimeout bounds the time to connect, with TLS.
	connectTimeout = 5 * time.Second
	// minSilence is the least time without a report after which the stream is reopened. Servers may
	// send less often than requested; grpc-go sends every 30 s.
	minSilence = 90 * time.Second
	// The delays until a stream is reopened; their second half is random.
	minReconnect, maxReconnect = time.Second, 2 * time.Minute
)

// errNoService is the error of a backend that sends no reports out of band.
var errNoService = errors.New("the backend has no xds.service.orca.v3.OpenRcaService service")

// Start starts receiving reports.
func (l *LoadReports) Start() {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	l.ended = make(chan struct{})
	if l.stream == nil {
		l.stream = l.call
	}
	go l.run(ctx)
}

// Stop ends the stream, and waits until it has ended. Further calls, and those before Start, do
// nothing.
func (l *LoadReports) Stop() {
	if l != nil && l.cancel != nil {
		l.cancel()
		<-l.ended
	}
}

// run keeps a stream open until ctx ends.
func (l *LoadReports) run(ctx context.Context) {
	defer close(l.ended)
	defer panics.Recover("receiving load reports")
	pause(ctx, l.Delay)
	for wait := minReconnect; ctx.Err() == nil; wait = min(2*wait, maxReconnect) {
		err := l.stream(ctx, func(message []byte) {
			err := l.Receive(message)
			if l.note(err); err == nil {
				wait = minReconnect
			}
		})
		if ctx.Err() != nil {
			return
		}
		l.note(err)
		if err == errNoService {
			wait = maxReconnect
		}
		pause(ctx, wait/2+rand.N(wait/2))
	}
}

// note logs changes between failure and success.
func (l *LoadReports) note(err error) {
	if failed := err != nil; failed != l.failed {
		l.failed = failed
		l.Changed(err)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// call connects, and receives until the stream or ctx ends. It reads at most two messages in each
// interval; flow control then stops a backend that sends more.
func (l *LoadReports) call(ctx context.Context, receive func(message []byte)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(connectTimeout, func() { cancel(errors.New("the connection timed out")) })
	defer timer.Stop()
	client, done, err := l.Target.dialGRPC(ctx, nil, maxReport)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer done()
	silence := max(3*l.Interval, minSilence)
	timer.Stop()
	timer = time.AfterFunc(silence, func() { cancel(fmt.Errorf("no report for %v", silence)) })
	defer timer.Stop()
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streamMethod, grpc.ForceCodec(rawCodec{}))
	if err == nil {
		request := reportRequest(l.Interval)
		err = stream.SendMsg(&request)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		var message []byte
		if err = stream.RecvMsg(&message); err == nil {
			timer.Reset(silence)
			receive(message)
			pause(ctx, l.Interval/2)
		}
	}
	switch s := status.Convert(err); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == io.EOF:
		return errors.New("the backend ended the stream")
	case s.Code() == grpccodes.Unimplemented:
		return errNoService
	default:
		return fmt.Errorf("%s: %s", s.Code(), s.Message())
	}
}

// reportRequest returns an OrcaLoadReportRequest in protobuf.
func reportRequest(interval time.Duration) (b []byte) {
	var d []byte // google.protobuf.Duration
	d = protowire.AppendVarint(protowire.AppendTag(d, 1, protowire.VarintType), uint64(interval/time.Second))
	d = protowire.AppendVarint(protowire.AppendTag(d, 2, protowire.VarintType), uint64(interval%time.Second))
	return protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), d)
}

// rawCodec does not encode or decode messages.
type rawCodec struct{}

// Marshal implements gRPC's Codec.
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal implements gRPC's Codec. It copies data, which gRPC reuses.
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}

// Name implements gRPC's Codec.
func (rawCodec) Name() string { return "proto" }

// Inherits returns the names of the transport options that affect the streams of load reports. It returns an error
// if the backends of the transport do not speak gRPC.
func (*LoadReports) Inherits(t *httptransport.Transport) ([]string, error) {
	options := append(new(Schedule).DialOptions(), (*TLS)(nil).inherits()...)
	switch {
	case t == nil:
	case t.Name == "fastcgi":
		return options, errors.New("orca_report speaks gRPC, and backends behind `transport fastcgi` do not; remove it")
	case t.Options["versions"] == "3":
		return options, errors.New("orca_report does not support HTTP/3, which the transport uses; remove it")
	case t.TLS("") && t.CheckServerName() != nil:
		return options, fmt.Errorf("the transport's tls_server_name %s depends on the request, which orca_report does not have; remove it", t.Options["tls_server_name"])
	}
	return options, nil
}
