// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// newTraced returns a request that is traced, its span, and what records the spans that end.
func newTraced(t *testing.T) (*http.Request, trace.Span, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	ctx, span := tracer.Start(t.Context(), "request")
	return newRequest().WithContext(ctx), span, spans
}

func attributesOf(span sdktrace.ReadOnlySpan) map[attribute.Key]attribute.Value {
	attributes := make(map[attribute.Key]attribute.Value)
	for _, a := range span.Attributes() {
		attributes[a.Key] = a.Value
	}
	return attributes
}

// Each attempt of a traced request has a client span of its own, a child of the request's, whose
// identity the backend gets.
func TestAttemptSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d := trying(t, "", "", `"outliers":{"off":true},"retry":{"tries":2,"on":["503","reset"]}`, status(503), broken, status(200))
		req, parent, spans := newTraced(t)
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
			s, attributes := got[i], attributesOf(got[i])
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

// Both attempts of a hedged request have a span, as children of the request's, and the error type of
// the one that lost says that it was cancelled.
func TestHedgeSpans(t *testing.T) {
	quick := lateBy(5*ms, status(200))
	for name, tt := range map[string]struct {
		first, second lbtest.Answerer
		want          [2]string // error types
	}{
		"the first loses":      {hang, quick, [2]string{"cancelled", ""}},
		"the second loses":     {lateBy(20*ms, status(200)), hang, [2]string{"", "cancelled"}},
		"the first fails":      {lateBy(13*ms, broken), quick, [2]string{"reset", ""}},
		"the second fails":     {lateBy(20*ms, status(200)), status(503), [2]string{"", "503"}},
		"both fail":            {lateBy(20*ms, status(503)), broken, [2]string{"503", "reset"}},
		"the first has a body": {hang, lateBy(5*ms, lbtest.LateBody(10*ms)), [2]string{"cancelled", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHedging(t, "", hedge95)
				h.warmUp(t, http.MethodGet)
				h.script = map[int]lbtest.Answerer{1: tt.first, 2: tt.second}
				req, parent, spans := newTraced(t)
				h.Serve(req)
				synctest.Wait()
				got := spans.Ended()
				if len(got) != 2 || len(h.all) != 2 {
					t.Fatalf("%d spans of attempts at %v ended, want 2", len(got), h.addresses())
				}
				for _, s := range got {
					attributes := attributesOf(s)
					i := attributes["ballast.try"].AsInt64() - 1
					if i < 0 || i > 1 || attributes["http.request.resend_count"].AsInt64() != i {
						t.Fatalf("a span has %v", attributes)
					}
					if s.Parent().SpanID() != parent.SpanContext().SpanID() || attributes["ballast.backend"].AsString() != h.all[i].address ||
						!strings.Contains(h.all[i].header.Get("Traceparent"), s.SpanContext().SpanID().String()) {
						t.Errorf("attempt %d has the span %v, with the parent %v and %v; its backend got %v", i+1, s.SpanContext().SpanID(), s.Parent().SpanID(), attributes, h.all[i].header)
					}
					if got := attributes["error.type"].AsString(); got != tt.want[i] || (s.Status().Code == codes.Error) != (got != "") {
						t.Errorf("attempt %d has the error type %q and the status %v, want %q", i+1, got, s.Status(), tt.want[i])
					}
				}
			})
		})
	}
}

// The span of an attempt says how long its request waited in the queue for it. Two requests are sent
// at once to a backend that takes one: the second one waits for 50 ms, then fails, and is sent again
// without a wait.
func TestSpanOfQueuedRequest(t *testing.T) {
	for _, policy := range oneOnly {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				answer := func(req *http.Request) (int, error) {
					n++
					return []lbtest.Answerer{lbtest.Latency(50 * ms), broken, status(200)}[n-1](req)
				}
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+policy+`},"dynamic_upstreams":{"source":"pool",`+dials("a:1")+`,
					"max_requests":1,"queue":{"size":10},"retry":{"tries":1},"outliers":{"off":true}}}`, lbtest.Backends{"a:1": answer})
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				var recorded [2]*tracetest.SpanRecorder
				for i := range recorded {
					req, _, spans := newTraced(t)
					recorded[i] = spans
					wg.Go(func() {
						if r := p.Serve(req); r.Status != http.StatusOK {
							t.Errorf("%d %v", r.Status, r.Err)
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				const none = -1
				for i, want := range [2][]float64{{none}, {0.05, none}} {
					var got []float64
					for _, s := range recorded[i].Ended() {
						wait := float64(none)
						if v, ok := attributesOf(s)["ballast.queue_wait"]; ok {
							wait = v.AsFloat64()
						}
						got = append(got, wait)
					}
					if !slices.Equal(got, want) {
						t.Errorf("the attempts of request %d have waited for %v s, want %v", i+1, got, want)
					}
				}
			})
		})
	}
}
