// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// span is a span that a collector got.
type span struct {
	id, parent string
	scope      string
	kind       tracepb.Span_SpanKind
	status     tracepb.Status_StatusCode
	attributes map[string]any
}

// collector receives spans by OTLP over gRPC, as an OpenTelemetry Collector does.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer

	mu     sync.Mutex
	traces map[string][]span // by id
	faults []string          // what no span has
}

// startCollector starts a collector that ends with the test. The processes that are started after it
// send their spans there.
func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := &collector{traces: make(map[string][]span)}, grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	for name, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + l.Addr().String(),
		"OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_PROPAGATORS": "tracecontext",
	} {
		t.Setenv(name, value)
	}
	return c
}

// Export implements [collectorpb.TraceServiceServer].
func (c *collector) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range req.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.add(scope.GetScope().GetName(), s)
			}
		}
	}
	return new(collectorpb.ExportTraceServiceResponse), nil
}

// add adds a span. The caller must hold mu.
func (c *collector) add(scope string, s *tracepb.Span) {
	got := span{
		id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()), scope: scope,
		kind: s.GetKind(), status: s.GetStatus().GetCode(), attributes: make(map[string]any),
	}
	for _, a := range s.GetAttributes() {
		if _, double := got.attributes[a.GetKey()]; double {
			c.faults = append(c.faults, fmt.Sprintf("span %s has the attribute %s twice", got.id, a.GetKey()))
		}
		got.attributes[a.GetKey()] = valueOf(a.GetValue())
	}
	if s.GetDroppedAttributesCount() > 0 || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
		c.faults = append(c.faults, fmt.Sprintf("span %s lacks attributes, or ends before it begins: %v", got.id, s))
	}
	trace := hex.EncodeToString(s.GetTraceId())
	c.traces[trace] = append(c.traces[trace], got)
}

// valueOf returns a string, an int64 or a float64; of other types the text.
func valueOf(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return v.DoubleValue
	}
	return v.String()
}

// received returns all spans by trace, and what is wrong with single ones.
func (c *collector) received() (traces map[string][]span, faults []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.traces), c.faults
}
