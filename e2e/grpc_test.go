// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// TestGRPC calls a gRPC service, that of health checks, through both kinds of
// proxy.
func TestGRPC(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			service := health.NewServer()
			var addresses []string
			for range 2 {
				addresses = append(addresses, serveGRPC(t, service))
			}
			port := freePort(t)
			c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", fmt.Sprintf(`
				:%d {
					bind 127.0.0.1
					reverse_proxy {
						%s
						transport http {
							versions h2c 2
						}
					}
				}`, port, fmt.Sprintf(kind.to, strings.Join(addresses, " "))))
			conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := healthpb.NewHealthClient(conn)
			t.Run("calls", func(t *testing.T) { testCalls(t, client) })
			t.Run("stream", func(t *testing.T) { testStream(t, client, service) })
			conn.Close()
			c.quiet()
		})
	}
}

// What Ballast refuses, a client of gRPC reads as UNAVAILABLE with the reason.
func TestGRPCRefused(t *testing.T) {
	port := freePort(t)
	startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool web {
					to 127.0.0.1:%d
					health tcp {
						initial down
					}
				}
				lb_retries 1
				transport http {
					versions h2c 2
				}
			}
		}`, port, freePort(t)))
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, new(healthpb.HealthCheckRequest))
	if got := status.Convert(err); got.Code() != codes.Unavailable || got.Message() != "no upstreams available: pool web: all_down" {
		t.Errorf("got %v", err)
	}
}

func serveGRPC(t *testing.T, service healthpb.HealthServer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, service)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func testCalls(t *testing.T, client healthpb.HealthClient) {
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res, err := client.Check(ctx, new(healthpb.HealthCheckRequest))
			if err != nil || res.Status != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("got %v, %v", res, err)
			}
		})
	}
	wg.Wait()
	// An error is a response of trailers alone.
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("got %v, want NotFound", err)
	}
}

func testStream(t *testing.T, client healthpb.HealthClient, service *health.Server) {
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "changing"})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := stream.Recv()
		if err != nil || res.Status != want {
			t.Fatalf("got %v, %v, want %v", res, err, want)
		}
	}
	expect(healthpb.HealthCheckResponse_SERVICE_UNKNOWN)
	for range 3 {
		service.SetServingStatus("changing", healthpb.HealthCheckResponse_SERVING)
		expect(healthpb.HealthCheckResponse_SERVING)
		service.SetServingStatus("changing", healthpb.HealthCheckResponse_NOT_SERVING)
		expect(healthpb.HealthCheckResponse_NOT_SERVING)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
}
