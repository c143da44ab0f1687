// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	// streamsSite lets in no more than 10 requests at a time, and its limit may be
	// learned nevertheless.
	streamsSite = "shed {\ninitial_limit 10\nmax_limit 10\n}\nreverse_proxy h2c://%s"
	// openStreams is how many streams are open at a time, of one connection: servers
	// allow 250.
	openStreams = 100
)

// TestOverloadStreams has far more streams open than an adaptive limit has places:
// they keep nobody out, and nobody is refused.
func TestOverloadStreams(t *testing.T) {
	t.Run("GRPC", func(t *testing.T) {
		service := health.NewServer()
		port := freePort(t)
		c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", telling(port, fmt.Sprintf(streamsSite, serveGRPC(t, service))))
		conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := healthpb.NewHealthClient(conn)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		var open []grpc.ServerStreamingClient[healthpb.HealthCheckResponse]
		for range openStreams {
			stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "changing"})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, stream)
		}
		for range openStreams {
			if _, err := client.Check(ctx, new(healthpb.HealthCheckRequest)); err != nil {
				t.Fatal(err)
			}
		}
		service.SetServingStatus("changing", healthpb.HealthCheckResponse_SERVING)
		for _, stream := range open {
			if res, err := stream.Recv(); err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("a stream has got %v, %v", res, err)
			}
		}
		c.expectNoneRefused(2 * openStreams)
		cancel()
		conn.Close()
		c.quiet()
	})
	t.Run("HTTP2", func(t *testing.T) {
		s, addresses := newServices(t)
		s.gone = make(chan struct{}, openStreams)
		port := freePort(t)
		c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", telling(port, fmt.Sprintf(streamsSite, addresses[0])))
		r := route{url: fmt.Sprintf("http://127.0.0.1:%d", port), client: newClient(t, true)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var open []*http.Response
		for range openStreams {
			open = append(open, r.do(ctx, t, "/events", nil))
		}
		for range openStreams {
			read(t, r.do(ctx, t, "/proto", nil))
		}
		c.expectNoneRefused(2 * openStreams)
		cancel()
		for range open {
			wait(t, "the backend notices that the client is gone", s.gone)
		}
		c.quiet()
	})
}

// expectNoneRefused checks that so many requests were let in and none was refused,
// and that none is in flight, be it open or not.
func (c *caddyProcess) expectNoneRefused(sent int) {
	c.t.Helper()
	if n := c.series("caddy_ballast_shed_refused_total"); n != 0 {
		c.t.Errorf("%v requests were refused", n)
	}
	if n := c.series("caddy_ballast_shed_admitted_total"); n != float64(sent) {
		c.t.Errorf("%v requests were let in, want %d", n, sent)
	}
	if n := c.shedding(); n != 0 {
		c.t.Errorf("%v requests are in flight", n)
	}
}
