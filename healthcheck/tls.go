// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// TLS contains the TLS options of a check. Options that are not set have the values of the proxy's transport.
type TLS struct {
	// Off disables TLS, for example for a health port without TLS. It excludes all other options.
	Off bool `json:"off,omitempty"`
	// ServerName is the name in SNI and in the verified certificate. Default: the transport's
	// server name, or the host of the backend.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify accepts any certificate. The check then does not verify the identity
	// of the server.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
	// CA is a PEM file with the trusted certificates. Default: those of the transport, or else of the system.
	CA string `json:"ca,omitempty"`
	// ClientCertificate is a PEM file with the client certificate of the check. It is read
	// when the configuration is loaded. Default: that of the transport, if any.
	ClientCertificate string `json:"client_certificate,omitempty"`
	// ClientCertificateKey is a PEM file with the key of the client certificate.
	ClientCertificateKey string `json:"client_certificate_key,omitempty"`

	// Set by load, then read-only.
	roots *x509.CertPool
	cert  *tls.Certificate
}

// check returns an error for options that contradict each other.
func (t *TLS) check() error {
	switch {
	case t == nil:
	case t.Off && (t.ServerName != "" || t.InsecureSkipVerify || t.CA != "" || t.ClientCertificate != "" || t.ClientCertificateKey != ""):
		return errors.New("tls is off and has other options; write one or the other")
	case (t.ClientCertificate == "") != (t.ClientCertificateKey == ""):
		return errors.New("client_certificate needs a certificate and its key; write client_certificate <cert> <key>")
	}
	return nil
}

// load reads the files.
func (t *TLS) load() error {
	if err := t.check(); err != nil || t == nil {
		return err
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return fmt.Errorf("reading ca: %w", err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca: %s contains no PEM certificate", t.CA)
		}
	}
	if t.ClientCertificate != "" {
		cert, err := tls.LoadX509KeyPair(t.ClientCertificate, t.ClientCertificateKey)
		if err != nil {
			return fmt.Errorf("reading client_certificate: %w", err)
		}
		t.cert = &cert
	}
	return nil
}

// ClientConfig returns the client configuration with these options alone, for guest modules of a
// pool that are not checks. It reads the files. The result is nil if t is nil or with Off.
func (t *TLS) ClientConfig() (*tls.Config, error) {
	if err := t.load(); err != nil || t == nil || t.Off {
		return nil, err
	}
	cfg := new(tls.Config)
	t.apply(cfg)
	return cfg, nil
}

// apply sets the options of the check in cfg.
func (t *TLS) apply(cfg *tls.Config) {
	if t == nil {
		return
	}
	if t.ServerName != "" {
		cfg.ServerName = t.ServerName
	}
	if t.roots != nil {
		cfg.RootCAs, cfg.InsecureSkipVerify = t.roots, false
	}
	if t.InsecureSkipVerify {
		cfg.InsecureSkipVerify = true
	}
	if t.cert != nil {
		cfg.Certificates, cfg.GetClientCertificate = []tls.Certificate{*t.cert}, nil
	}
}

// TLSOption parses a tls block, which may be empty, or off, into dst.
func TLSOption(dst **TLS) caddyfileutil.Option {
	return func(d *caddyfile.Dispenser) error {
		t := new(TLS)
		*dst = t
		block := func(d *caddyfile.Dispenser) error {
			return caddyfileutil.Block(d, caddyfileutil.Options{
				"off":                  caddyfileutil.Valid(caddyfileutil.Flag(&t.Off), t.check),
				"server_name":          caddyfileutil.Valid(caddyfileutil.String(&t.ServerName), t.check),
				"insecure_skip_verify": caddyfileutil.Valid(caddyfileutil.Flag(&t.InsecureSkipVerify), t.check),
				"ca":                   caddyfileutil.Valid(caddyfileutil.String(&t.CA), t.check),
				"client_certificate": func(d *caddyfile.Dispenser) error {
					args := d.RemainingArgs()
					if len(args) != 2 {
						return d.Err("client_certificate needs two files; write client_certificate <cert> <key>")
					}
					t.ClientCertificate, t.ClientCertificateKey = args[0], args[1]
					if err := t.check(); err != nil {
						return d.WrapErr(err)
					}
					return nil
				},
			})
		}
		return caddyfileutil.Off(block, func() { t.Off = true })(d)
	}
}
