// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backendconn

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Watch wraps all connections that rt makes from now on, except those of HTTP/2.
func Watch(rt *http.Transport) {
	watch := func(dial dialFunc) dialFunc {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil || rt.Protocols != nil && rt.Protocols.UnencryptedHTTP2() {
				return conn, err
			}
			if c, ok := conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
				return conn, nil
			}
			return Wrap(conn), nil
		}
	}
	if rt.DialContext != nil {
		rt.DialContext = watch(rt.DialContext)
	}
	if rt.DialTLSContext != nil {
		rt.DialTLSContext = watch(rt.DialTLSContext)
	}
}
