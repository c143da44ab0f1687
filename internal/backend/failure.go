// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// Failure is why an attempt got no complete response.
type Failure int

// The kinds of failure.
const (
	NoFailure  Failure = iota
	Refused            // nobody listens, or no route leads there
	Reset              // the connection broke
	Timeout            // something took longer than it may
	TLSFailure         // the handshake failed
	Protocol           // what came was no response
	failures
)

var failureNames = [failures]string{"none", "refused", "reset", "timeout", "tls", "protocol"}

// String returns the name in metrics.
func (f Failure) String() string { return failureNames[f] }

// FailureOf classifies the error of a transport, or of reading a body.
func FailureOf(err error) Failure {
	var (
		netErr    net.Error
		dnsErr    *net.DNSError
		opErr     *net.OpError
		recordErr tls.RecordHeaderError
		alertErr  tls.AlertError
		certErr   *tls.CertificateVerificationError
		hostErr   x509.HostnameError
	)
	switch {
	case err == nil:
		return NoFailure
	case errors.As(err, &recordErr), errors.As(err, &alertErr), errors.As(err, &certErr), errors.As(err, &hostErr):
		return TLSFailure
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dnsErr), errors.As(err, &opErr) && opErr.Op == "dial":
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "connection broken"):
		return Reset
	}
	return Protocol
}
