// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

const msec = time.Millisecond

func nearly(t *testing.T, what string, got float64, want, tolerance time.Duration) {
	t.Helper()
	if math.Abs(got-float64(want)) > float64(tolerance) {
		t.Errorf("%s is %v, want %v within %v", what, time.Duration(got), want, tolerance)
	}
}

func TestByLoad(t *testing.T) {
	s := NewState()
	b := s.ByLoad()
	if b.At(3, 0) != 0 {
		t.Error("a latency without samples")
	}
	s.Answer(&Attempt{Status: 200, FirstByte: 10 * msec, Load: 1})
	s.Answer(&Attempt{Status: 200, FirstByte: 80 * msec, Load: 20})
	nearly(t, "the latency when idle", b.At(1, 80*msec), 10*msec, msec)
	nearly(t, "the latency under load", b.At(22, 80*msec), 80*msec, msec)
	nearly(t, "the latency at the nearest load", b.At(3, 80*msec), 10*msec, msec)
	if v := b.At(3, 10*time.Second); v != 0 {
		t.Errorf("the latency under load that was seen long ago is %v, want none", v)
	}
	nearly(t, "the latency when idle that was seen long ago", b.At(1, 10*time.Second), 10*msec*368/1000, msec)
}

// A failed attempt has no latency, but a penalty. A client that goes away proves a latency.
func TestOutcomesAndLatency(t *testing.T) {
	second := time.Second
	for _, tt := range []struct {
		name       string
		attempt    Attempt
		end        time.Duration
		err        error
		clientGone bool
		header     time.Duration // after an earlier 100 msec, both counting half; 900 msec fade it by 9 %
		penalty    time.Duration
	}{
		{"an answer", Attempt{Status: 200, FirstByte: 300 * msec}, 400 * msec, nil, false, 200 * msec, 0},
		{"a failure at once", Attempt{}, msec, syscall.ECONNREFUSED, false, 100 * msec, 5 * second},
		{"a 503 at once", Attempt{Status: 503, FirstByte: msec}, msec, nil, false, 100 * msec, 5 * second},
		{"a 500", Attempt{Status: 500, FirstByte: msec}, msec, nil, false, 100 * msec, 5 * second},
		{"a 404", Attempt{Status: 404, FirstByte: 20 * msec}, 20 * msec, nil, false, 60 * msec, 0},
		{"a gRPC error", Attempt{Status: 200, Error: 503, FirstByte: 20 * msec}, 20 * msec, nil, false, 60 * msec, 5 * second},
		{"a client that waited longer", Attempt{}, second, context.Canceled, true, 91 * msec, 2 * second},
		{"a client that waited shorter", Attempt{}, 50 * msec, context.Canceled, true, 100 * msec, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewState()
			start := clock.Now()
			s.Answer(&Attempt{Start: start, Status: 200, FirstByte: 100 * msec})
			a := tt.attempt
			if a.Start = start; a.Status != 0 {
				s.Answer(&a)
			}
			s.End(&a, start+tt.end, tt.err, tt.clientGone)
			// Samples are at most seconds old: they have hardly faded.
			nearly(t, "the time to the header", s.Header.Value(start+max(tt.end, 100*msec), latency.Decay), tt.header, tt.header/50)
			nearly(t, "the penalty", s.Penalty(), tt.penalty, msec)
		})
	}
}

// The time to the body is known when its first byte comes, and at least how long a client waited for it.
func TestTimeToBody(t *testing.T) {
	begins := func(after time.Duration) func(*State, *Attempt) {
		return func(s *State, a *Attempt) {
			s.AnswerBody(a, a.Start+after)
			s.AnswerBody(a, a.Start+time.Hour) // only the first byte counts
		}
	}
	leaves := func(after time.Duration) func(*State, *Attempt) {
		return func(s *State, a *Attempt) { s.End(a, a.Start+after, context.Canceled, true) }
	}
	for _, tt := range []struct {
		name   string
		status int
		then   func(*State, *Attempt)
		want   time.Duration // after an earlier 100 msec, both counting half
		bodies int64
	}{
		{"a body", 200, begins(300 * msec), 200 * msec, 2},
		{"a failure", 503, begins(300 * msec), 100 * msec, 2},
		{"a tunnel", 101, begins(300 * msec), 100 * msec, 1},
		{"a client that waited longer", 200, leaves(300 * msec), 600 * msec, 1},
		{"a client that waited shorter", 200, leaves(50 * msec), 100 * msec, 1},
		{"a client that left later", 200, func(s *State, a *Attempt) { begins(100*msec)(s, a); leaves(time.Hour)(s, a) }, 100 * msec, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, start := NewState(), clock.Now()
			peak := s.PeakOf(latency.Decay, true)
			s.AnswerBody(&Attempt{Start: start, Status: 200}, start+100*msec)
			a := &Attempt{Start: start, Status: tt.status, FirstByte: 10 * msec}
			s.Answer(a)
			tt.then(s, a)
			now := start + 300*msec
			nearly(t, "the time to the body", s.Body.Value(now, latency.Decay), tt.want, tt.want/10)
			if high := max(tt.want, 100*msec); peak.Value(now, latency.Decay) < float64(high)*9/10 {
				t.Errorf("its peak is %v", time.Duration(peak.Value(now, latency.Decay)))
			}
			if got := s.Totals().Bodies; got != tt.bodies {
				t.Errorf("%d bodies, want %d", got, tt.bodies)
			}
		})
	}
}

func TestTunnelsDoNotCountAsSlow(t *testing.T) {
	s := NewState()
	a := &Attempt{Status: http.StatusSwitchingProtocols, FirstByte: msec}
	s.Answer(a)
	s.End(a, time.Hour, nil, false)
	if v := s.LastByte.Value(time.Hour, latency.Decay); v != 0 {
		t.Errorf("a tunnel of an hour makes the time to the last byte %v", time.Duration(v))
	}
}

func TestFailureOf(t *testing.T) {
	caddys := func(err error) error {
		return reverseproxy.NewDialError(&net.OpError{Op: "dial", Net: "tcp", Err: err})
	}
	dial := func(err error) error { return fmt.Errorf("dialing: %w", &net.OpError{Op: "dial", Err: err}) }
	h2 := errors.New("stream error: stream ID 1; CANCEL; received from peer")
	for want, errs := range map[outlier.Failure][]error{
		outlier.NoFailure: {nil},
		outlier.Refused: {dial(syscall.ECONNREFUSED), dial(syscall.EHOSTUNREACH), dial(syscall.ENOENT), &net.DNSError{Err: "no such host"},
			caddys(os.NewSyscallError("connect", syscall.ECONNREFUSED)), caddys(&net.DNSError{Err: "no such host"})},
		outlier.Local: {
			dial(os.NewSyscallError("socket", syscall.EMFILE)), dial(syscall.ENFILE), dial(syscall.ENOBUFS), dial(syscall.ENOMEM),
			dial(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)), dial(syscall.EADDRINUSE),
			&net.OpError{Op: "write", Err: syscall.ENOBUFS},
			caddys(os.NewSyscallError("socket", syscall.EMFILE)),
			dial(&net.DNSError{Err: "dial udp 10.0.0.53:53: socket: too many open files", Name: "app", Server: "10.0.0.53:53"}),
		},
		outlier.Reset:      {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, io.ErrUnexpectedEOF, io.EOF, syscall.EPIPE, h2},
		outlier.Timeout:    {caddys(os.ErrDeadlineExceeded), caddys(context.DeadlineExceeded), dial(os.ErrDeadlineExceeded), context.DeadlineExceeded},
		outlier.TLSFailure: {tls.RecordHeaderError{Msg: "not TLS"}, tls.AlertError(42), &tls.CertificateVerificationError{Err: errors.New("expired")}},
		outlier.Unsent:     {errors.New(`net/http: invalid header field value for "X-A"`), errors.New("net/http: HTTP/1.x transport connection broken: http: invalid Host header")},
		outlier.Protocol:   {errors.New("malformed HTTP response")},
	} {
		for _, err := range errs {
			if got := outlier.FailureOf(err); got != want {
				t.Errorf("%v is %v, want %v", err, got, want)
			}
		}
	}
}

// Silence begins with the first request that waits, begins anew with each answer or
// failure while others wait, and ends with the last. A client that leaves breaks none.
func TestSilence(t *testing.T) {
	b := New("", Endpoint{}, NewState(), nil, nil)
	s, start := b.ByLoad(), clock.Now()
	at := func(seconds int) time.Duration { return start + time.Duration(seconds)*time.Second }
	expect := func(now int, want time.Duration) {
		t.Helper()
		if got := s.UnansweredFor(at(now)); got != want*time.Second {
			t.Errorf("at %d: silent for %v, want %ds", now, got, want)
		}
	}
	begin := func(now int) *Attempt {
		a := &Attempt{Start: at(now)}
		b.Begin(a)
		return a
	}
	expect(0, 0)
	first := begin(1)
	second, third := begin(2), begin(3)
	expect(4, 3)
	first.Status, first.FirstByte = 200, 4*time.Second
	b.Answer(first)
	expect(7, 2)
	b.End(first, at(8), nil, false) // its body says nothing of the others
	expect(8, 3)
	b.End(second, at(9), context.Canceled, true)
	expect(10, 5)
	fourth := begin(11)
	b.End(third, at(12), errors.New("reset"), false)
	expect(13, 1)
	b.End(fourth, at(14), context.Canceled, true)
	expect(15, 0)
	begin(16)
	expect(18, 2)
}
