// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"

	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// Inheriting is a check that uses the options of the proxy's transport, unless it sets them itself.
type Inheriting interface {
	Check
	// Inherits returns the names of the transport options that affect the check, set or not.
	// It returns an error if the check cannot be used with the transport.
	Inherits(t *Transport) (options []string, err error)
}

// Transport contains the options of a proxy's transport.
type Transport = httptransport.Transport

// DialOptions returns the transport options that affect a connection of [Target.Dial]. A
// check without TLS returns them from Inherits.
func (s *Schedule) DialOptions() []string {
	options := []string{"resolvers", "local_address"}
	if s.Port == 0 {
		options = append(options, "proxy_protocol")
	}
	return options
}

// inherits returns the transport options that affect TLS.
func (t *TLS) inherits() []string {
	var own TLS
	if t != nil {
		own = *t
	}
	if own.Off {
		return nil
	}
	options := []string{"tls_curves", "tls_renegotiation"}
	if t == nil {
		options = append(options, "tls", "tls_except_ports")
	}
	if own.ServerName == "" {
		options = append(options, "tls_server_name")
	}
	if own.CA == "" && !own.InsecureSkipVerify {
		options = append(options, "tls_trust_pool", "tls_insecure_skip_verify")
	}
	if own.ClientCertificate == "" {
		options = append(options, "tls_client_auth")
	}
	return options
}

// usable returns an error if an HTTP check cannot be used with the transport.
func (t *TLS) usable(transport *httptransport.Transport, name string) error {
	switch {
	case transport == nil:
	case transport.Name == "fastcgi":
		return fmt.Errorf("health %s speaks HTTP, and backends behind `transport fastcgi` do not; write `health tcp`", name)
	case transport.Options["versions"] == "3" && t == nil:
		return fmt.Errorf("health %s does not support HTTP/3, which the transport uses; write `tls` in the check if the backends also answer HTTP/1.1 or 2 at that port, or remove the check", name)
	case (t == nil || !t.Off && t.ServerName == "") && transport.TLS(""):
		return transport.CheckServerName()
	}
	return nil
}
