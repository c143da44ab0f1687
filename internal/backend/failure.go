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
	Refused            // nobody listens, or no route leads there
	Reset              // the connection broke
	Timeout            // something took longer than it may
	TLSFailure         // the handshake failed
	Protocol           // what came was no response
	Local              // this machine lacked what a connection needs
	Unsent             // the request cannot be sent, or was not sent whole
	Unread             // the client did not read the response
	failures
)

var failureNames = [failures]string{"none", "refused", "reset", "timeout", "tls", "protocol", "local", "request", "client"}

// String returns the name in metrics.
func (f Failure) String() string { return failureNames[f] }

// blameless reports whether the failure says nothing of the backend: it is neither
// a success nor an error.
func (f Failure) blameless() bool { return f == Local || f == Unsent || f == Unread }

// shortages are the errors of system calls that fail for want of something that
// this process, or this machine, has run out of: file descriptors, memory, ports.
var shortages = [...]syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE,
}

// isShortage reports whether err is one of some errors of system calls. Caddy's error of a
// dial and that of a name that was not found keep only the text of their cause.
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
		text = dnsErr.Err
	}
	return slices.ContainsFunc(any, func(errno syscall.Errno) bool { return strings.HasSuffix(text, ": "+errno.Error()) })
}

// Classify is FailureOf for a backend that has been reached before, or never. To
// one that never was there may be no way: a machine without IPv6 has no address to
// dial an IPv6 address from, and says so as if its ports were used up.
func Classify(reached bool, err error) Failure {
	f := FailureOf(err)
	if f == Local && !reached && isShortage(err, syscall.EADDRNOTAVAIL) {
		return Refused
	}
	return f
}

// isNoConnection reports whether an attempt failed before there was a connection.
func isNoConnection(f Failure, err error) bool {
	var dialErr reverseproxy.DialError
	var opErr *net.OpError
	return f == Refused || errors.As(err, &dialErr) || errors.As(err, &opErr) && opErr.Op == "dial"
}

// unsendable are the errors of net/http for a request that it does not send, as with a
// line break in a field that the configuration takes from a client's query.
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
