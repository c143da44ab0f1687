// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Each attempt of a traced request has a client span of its own, a child of the request's, whose
// identity the backend gets.
func TestAttemptSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"outliers":{"off":true},"retry":{"tries":2,"on":["503","reset"]}`, status(503), broken, status(200))
		spans := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
		ctx, parent := tracer.Start(t.Context(), "request")
		req := newRequest().WithContext(ctx)
		req.Header.Set("Traceparent", "00-00000000000000000000000000000001-0000000000000001-01") // Caddy's
		if r := p.Serve(req); r.Status != http.StatusOK {
			t.Fatal(r.Status, r.Err)
		}
		parent.End()
		got := spans.Ended()
		if len(got) != 4 {
			t.Fatalf("%d spans ended, want one for each of 3 attempts and the request's", len(got))
		}
		for i, want := range []struct {
			status    int64
			errorType string
		}{{503, "503"}, {0, "reset"}, {200, ""}} {
			s, attributes := got[i], make(map[attribute.Key]attribute.Value)
			for _, a := range s.Attributes() {
				attributes[a.Key] = a.Value
			}
			if s.Parent().SpanID() != parent.SpanContext().SpanID() || s.SpanKind() != trace.SpanKindClient || s.Name() != "GET" {
				t.Errorf("span %d is %s, of kind %v and with the parent %v", i, s.Name(), s.SpanKind(), s.Parent().SpanID())
			}
			if a := d.all[i]; !strings.Contains(a.header.Get("Traceparent"), s.SpanContext().SpanID().String()) {
				t.Errorf("the backend of attempt %d got the traceparent %s, want that of span %v", i, a.header.Get("Traceparent"), s.SpanContext().SpanID())
			}
			address := d.all[i].address
			if attributes["ballast.pool"].AsString() != "web" || attributes["ballast.backend"].AsString() != address ||
				attributes["ballast.policy"].AsString() != "wrr" || attributes["ballast.try"].AsInt64() != int64(i+1) ||
				attributes["server.address"].AsString()+":1" != address || attributes["server.port"].AsInt64() != 1 {
				t.Errorf("span %d has %v", i, attributes)
			}
			if attributes["http.response.status_code"].AsInt64() != want.status || attributes["error.type"].AsString() != want.errorType ||
				(s.Status().Code == codes.Error) != (want.errorType != "") || attributes["http.request.resend_count"].AsInt64() != int64(i) {
				t.Errorf("span %d has %v and the status %v, want %v", i, attributes, s.Status(), want)
			}
		}
	})
}

// A request that is not sampled, or not traced, is sent with its header as it is.
func TestNoSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"retry":{"tries":1}`, lbtest.Latency(0))
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test")
		ctx, _ := tracer.Start(t.Context(), "request")
		p.Serve(newRequest().WithContext(ctx))
		p.Serve(newRequest())
		for _, a := range d.all {
			if a.header.Get("Traceparent") != "" {
				t.Errorf("a backend got %v", a.header)
			}
		}
	})
}
