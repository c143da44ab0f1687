// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/dispense"
)

// TLS is how a check speaks TLS.
type TLS struct {
	// ServerName is asked for and verified instead of the backend's host.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify accepts any certificate. A check with it says nothing
	// of who answers.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
	// CA is a PEM file with the certificates to trust instead of the system's.
	CA string `json:"ca,omitempty"`
}

// config returns the TLS configuration for any target; a nil TLS is the
// default one.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return new(tls.Config), nil
	}
	cfg := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("reading ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no PEM certificate", t.CA)
		}
	}
	return cfg, nil
}

// tlsOption parses a tls block, which may be empty, into dst.
func tlsOption(dst **TLS) dispense.Option {
	return func(d *caddyfile.Dispenser) error {
		t := new(TLS)
		*dst = t
		return dispense.Block(d, dispense.Options{
			"server_name":          dispense.String(&t.ServerName),
			"insecure_skip_verify": dispense.Flag(&t.InsecureSkipVerify),
			"ca":                   dispense.String(&t.CA),
		})
	}
}
