// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package tracing makes an OpenTelemetry span for each attempt, if Caddy's `tracing` is on.
package tracing

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation.
const scope = "github.com/ballast-lb/caddy-ballast"

// propagator is as Caddy's: by OTEL_PROPAGATORS, by default W3C Trace Context and Baggage.
var propagator = sync.OnceValue(func() propagation.TextMapPropagator { return autoprop.NewTextMapPropagator() })

// Attempt describes an attempt for its span.
type Attempt struct {
	// Pool and Backend are names, and Policy the name of the selection policy.
	Pool, Backend, Policy string
	// Address is the dial address of the backend.
	Address string
	// Try is the number of the attempt, from 1.
	Try int
	// Waited is how long the request waited in the pool's queue before.
	Waited time.Duration
}

// Span is the span of an attempt. The zero value stands for a request that is not traced. Safe for concurrent use.
type Span struct{ span trace.Span }

// Traced reports whether the request with context ctx is traced.
func Traced(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Start begins a client span, a child of the request's span, by the conventions of OpenTelemetry for HTTP clients.
// It returns the context with the span, and a copy of req whose trace header makes the span the parent of the
// backend's spans. It must be called only if ctx is traced.
func Start(ctx context.Context, req *http.Request, a Attempt) (context.Context, *http.Request, Span) {
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", req.Method),
		attribute.String("url.path", req.URL.Path),
		attribute.String("ballast.backend", a.Backend),
		attribute.Int("ballast.try", a.Try),
	}
	if host, port, err := net.SplitHostPort(a.Address); err == nil {
		attributes = append(attributes, attribute.String("server.address", host))
		if n, err := strconv.Atoi(port); err == nil {
			attributes = append(attributes, attribute.Int("server.port", n))
		}
	} else {
		attributes = append(attributes, attribute.String("server.address", a.Address))
	}
	if a.Pool != "" {
		attributes = append(attributes, attribute.String("ballast.pool", a.Pool))
	}
	if a.Policy != "" {
		attributes = append(attributes, attribute.String("ballast.policy", a.Policy))
	}
	if a.Waited > 0 {
		attributes = append(attributes, attribute.Float64("ballast.queue_wait", a.Waited.Seconds()))
	}
	if a.Try > 1 {
		attributes = append(attributes, attribute.Int("http.request.resend_count", a.Try-1))
	}
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer(scope)
	ctx, span := tracer.Start(ctx, req.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	sent := *req // a transport must not modify req
	sent.Header = req.Header.Clone()
	propagator().Inject(ctx, propagation.HeaderCarrier(sent.Header))
	return ctx, &sent, Span{span}
}

// Answered records the status of the response. By the conventions a status of 400 or more is an
// error of a client span.
func (s Span) Answered(status int) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusBadRequest {
		s.span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
		s.span.SetStatus(codes.Error, "")
	}
}

// End ends the span. kind is the kind of failure of an attempt without a complete response, and
// text its error; "" for none.
func (s Span) End(kind, text string) {
	if s.span == nil {
		return
	}
	if kind != "" {
		s.span.SetAttributes(attribute.String("error.type", kind))
		s.span.SetStatus(codes.Error, text)
	}
	s.span.End()
}
