// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// grpcBackend is a gRPC server whose health can be set.
type grpcBackend struct {
	address string
	health  *health.Server
	probes  atomic.Int64
}

// The service that probes ask for, and the one that calls ask for, so that they
// can be told apart: all are calls of the same method.
const probedService, calledService = "shop.v1.Orders", "called"

// startGRPC starts a gRPC server that says with each answer who it is.
func startGRPC(t *testing.T) *grpcBackend {
	t.Helper()
	b := &grpcBackend{address: freeAddress(t), health: health.NewServer()}
	b.set(healthpb.HealthCheckResponse_SERVING)
	b.health.SetServingStatus(calledService, healthpb.HealthCheckResponse_SERVING)
	l, err := net.Listen("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if req.(*healthpb.HealthCheckRequest).Service == probedService {
			b.probes.Add(1)
		}
		grpc.SetHeader(ctx, metadata.Pairs("x-backend", b.address))
		return next(ctx, req)
	}))
	healthpb.RegisterHealthServer(server, b.health)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return b
}

func (b *grpcBackend) set(s healthpb.HealthCheckResponse_ServingStatus) {
	b.health.SetServingStatus(probedService, s)
}

// TestHealthGRPC has calls go to three gRPC servers, of which one says for a
// while that it does not serve.
func TestHealthGRPC(t *testing.T) {
	var backends [3]*grpcBackend
	to := "to"
	for i := range backends {
		backends[i] = startGRPC(t)
		to += " h2c://" + backends[i].address
	}
	port := freePort(t)
	c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", poolSite(port, to+"\n"+check("grpc "+probedService, twice), "lb_retries 2"))
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	l := startRequests(t, 200, func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		var header metadata.MD
		res, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: calledService}, grpc.Header(&header))
		if err == nil && res.Status != healthpb.HealthCheckResponse_SERVING {
			err = fmt.Errorf("got %v", res)
		}
		return strings.Join(header.Get("x-backend"), " "), err
	})
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })

	victim := backends[1]
	victim.set(healthpb.HealthCheckResponse_NOT_SERVING)
	eventually(t, "the backend is down", func() bool { return c.downs(victim.address) == 1 })
	noTraffic(c, l, victim.address)
	if r := c.reason(victim.address, "backend_down"); !strings.Contains(r, "NOT_SERVING") {
		t.Errorf("the reason is %q", r)
	}
	c.expectHistory(victim.address, "backend_down")

	victim.set(healthpb.HealthCheckResponse_SERVING)
	eventually(t, "the backend is up", func() bool { return c.ups(victim.address) == 1 })
	before := l.counts()[victim.address]
	eventually(t, "the backend has traffic again", func() bool { return l.counts()[victim.address] > before+30 })
	l.stop()
	l.mustNotFail()
	c.expectHistory(victim.address, "backend_down", "backend_up")
	for _, b := range []*grpcBackend{backends[0], backends[2]} {
		c.expectHistory(b.address)
		if b.probes.Load() == 0 {
			t.Errorf("%s was never probed", b.address)
		}
	}
}
