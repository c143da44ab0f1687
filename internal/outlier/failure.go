// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Failure is why an attempt got no complete response.
type Failure int

// The kinds of failure.
const (
	NoFailure  Failure = iota
	Refused            // no listener or no route
	Reset              // the connection broke
	Timeout            // a timeout was exceeded
	TLSFailure         // the TLS handshake failed
	Protocol           // the response was malformed
	Local              // this machine lacked a resource for the connection
	Unsent             // the request cannot be sent, or was not sent whole
	Unread             // the client did not read the response
	Closed             // `on_down close` ended the response
	// FailureKinds is the number of kinds.
	FailureKinds
)

var failureNames = [FailureKinds]string{"none", "refused", "reset", "timeout", "tls", "protocol", "local", "request", "client", "closed"}

// String returns the name in metrics.
func (f Failure) String() string { return failureNames[f] }

// Blameless reports whether the failure is exempt: it counts neither as a success nor as an error
// of the backend.
func (f Failure) Blameless() bool { return f == Local || f == Unsent || f == Unread || f == Closed }

// shortages are the errors of system calls that fail because this process or machine has run out
// of a resource: file descriptors, memory, ports.
var shortages = [...]syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE,
}

// isShortage reports whether err is one of the given errors of system calls. It also compares
// texts, because Caddy's DialError and net.DNSError keep only the text of their cause.
func isShortage(err error, any ...syscall.Errno) bool {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return slices.Contains(any, errno)
	}
	var dnsErr *net.DNSError
	text := ""
	if dialErr, ok := errors.AsType[reverseproxy.DialError](err); ok {
		text = dialErr.Error()
	} else if errors.As(err, &dnsErr) {
		text = dnsErr.Error()
	}
	return slices.ContainsFunc(any, func(errno syscall.Errno) bool { return strings.HasSuffix(text, ": "+errno.Error()) })
}

// Classify is FailureOf with one correction. reached reports whether the backend has ever answered.
// A dial to an IPv6 address on a machine without IPv6 fails with the error for exhausted ports
// (EADDRNOTAVAIL). For a backend that was never reached, this error is Refused, not Local.
func Classify(reached bool, err error) Failure {
	f := FailureOf(err)
	if f == Local && !reached && isShortage(err, syscall.EADDRNOTAVAIL) {
		return Refused
	}
	return f
}

// NoConnection reports whether an attempt failed before there was a connection.
func NoConnection(f Failure, err error) bool {
	var dialErr reverseproxy.DialError
	var opErr *net.OpError
	return f == Refused || errors.As(err, &dialErr) || errors.As(err, &opErr) && opErr.Op == "dial"
}

// unsendable are the errors of net/http for a request that it does not send, for example because of
// a line break in a header field with a placeholder.
var unsendable = [...]string{
	"net/http: invalid ", "net/http: can't write control character", "http: invalid Host header", "http: no Host in request URL",
	"http2: request header list larger than peer's advertised limit",
}

func contains(err error, texts ...string) bool {
	text := err.Error()
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(text, t) })
}

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
		dialErr   reverseproxy.DialError
	)
	switch {
	case err == nil:
		return NoFailure
	case isShortage(err, shortages[:]...):
		return Local
	case contains(err, unsendable[:]...):
		return Unsent
	case errors.As(err, &dialErr):
		if text := dialErr.Error(); strings.HasSuffix(text, "i/o timeout") || strings.HasSuffix(text, context.DeadlineExceeded.Error()) {
			return Timeout
		}
		return Refused
	case errors.As(err, &recordErr), errors.As(err, &alertErr), errors.As(err, &certErr), errors.As(err, &hostErr):
		return TLSFailure
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &dnsErr), errors.As(err, &opErr) && opErr.Op == "dial":
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		contains(err, "connection broken", "stream error: stream ID", "http2: server sent GOAWAY", "http2: client connection lost"):
		return Reset
	}
	return Protocol
}
