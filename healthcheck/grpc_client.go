// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// dialGRPC returns a gRPC client with one connection to the target, without reconnects. Messages of
// the backend may have maxMessage bytes. The connection ends when ctx does. Without an error, done
// must be called.
func (t Target) dialGRPC(ctx context.Context, own *TLS, maxMessage int) (client *grpc.ClientConn, done func(), err error) {
	conn, hangUp, err := t.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			hangUp()
		}
	}()
	creds := insecure.NewCredentials()
	if t.secure(own) {
		secured, err := handshake(ctx, conn, t.tlsConfig(own, "h2"))
		if err != nil {
			return nil, nil, cmp.Or(ctx.Err(), err) // not the error that closing the connection caused
		}
		if secured.ConnectionState().NegotiatedProtocol != "h2" {
			return nil, nil, errors.New("the backend's TLS does not offer HTTP/2 (h2 in ALPN), which gRPC needs")
		}
		conn, creds = secured, handshaken{state: secured.ConnectionState()}
	}
	var taken atomic.Bool
	client, err = grpc.NewClient("passthrough:///backend",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if taken.Swap(true) {
				return nil, errors.New("the backend closed the connection")
			}
			return conn, nil
		}),
		grpc.WithTransportCredentials(creds),
		grpc.WithAuthority(t.hostPort()),
		grpc.WithUserAgent("Caddy-Ballast"),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithMaxHeaderListSize(maxRead),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, nil, err
	}
	return client, func() { client.Close(); hangUp() }, nil
}

// handshaken are the credentials of a connection after its TLS handshake. The handshake is made
// outside of gRPC, so that its errors are the same as in other checks.
type handshaken struct {
	credentials.TransportCredentials // nil; the client does not use the other methods
	state                            tls.ConnectionState
}

// ClientHandshake implements [credentials.TransportCredentials].
func (h handshaken) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, credentials.TLSInfo{
		State:          h.state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Info implements [credentials.TransportCredentials].
func (h handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
