// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS configures the encryption of connections.
type TLS struct {
	// CA is the path of a PEM file with the certificates of the authorities that are trusted to sign the
	// server's certificate. Default: the authorities that the system trusts.
	CA string `json:"ca,omitempty"`
	// Certificate is the path of a PEM file with the client certificate. It is read for each
	// connection, so it can be renewed without a reload. Default: none.
	Certificate string `json:"certificate,omitempty"`
	// Key is the path of a PEM file with the private key of Certificate. Default: none.
	Key string `json:"key,omitempty"`
	// ServerName is the name that the server's certificate must have. Default: the host of the
	// address.
	ServerName string `json:"server_name,omitempty"`
	// InsecureSkipVerify accepts every certificate. Only for tests. Default: false.
	InsecureSkipVerify bool `json:"insecure_skip_verify,omitempty"`
}

func (t *TLS) check() error {
	if t != nil && (t.Certificate == "") != (t.Key == "") {
		return errors.New("tls: certificate and key belong together; write certificate <file> <key>")
	}
	return nil
}

// config returns the TLS configuration of connections; nil if t is nil.
func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls: ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: ca: %s has no certificate in PEM form", t.CA)
		}
	}
	if t.Certificate != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
			if err != nil {
				return nil, fmt.Errorf("tls: certificate: %w", err)
			}
			return &certificate, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return config, nil
}
