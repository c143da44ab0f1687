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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
)

const ms = time.Millisecond

func near(t *testing.T, what string, got float64, want, tolerance time.Duration) {
	t.Helper()
	if math.Abs(got-float64(want)) > float64(tolerance) {
		t.Errorf("%s is %v, want %v within %v", what, time.Duration(got), want, tolerance)
	}
}

func TestEWMA(t *testing.T) {
	var e EWMA
	if e.Value(0, time.Second) != 0 {
		t.Error("a value without samples")
	}
	// The first samples count alike.
	for i := range 10 {
		e.Observe(time.Duration(i)*ms, time.Duration(10+i%2*10)*ms, 10*time.Second)
	}
	near(t, "the average of the first", e.Value(9*ms, 10*time.Second), 15*ms, ms/2)
	// After many of them, a sample a decay time later counts 1-1/e.
	var f EWMA
	for i := range 200 {
		f.Observe(time.Duration(i)*ms, 100*ms, time.Second)
	}
	f.Observe(1199*ms, 0, time.Second)
	near(t, "the average after a decay time", f.Value(1199*ms, time.Second), 100*ms*368/1000, 2*ms)
	near(t, "the value faded", f.Value(2199*ms, time.Second), 100*ms*368*368/1e6, 2*ms)
	// Sub-millisecond backends can be told apart.
	var a, b EWMA
	a.Observe(0, 200*time.Microsecond, time.Second)
	b.Observe(0, 210*time.Microsecond, time.Second)
	if a.Value(0, time.Second) >= b.Value(0, time.Second) {
		t.Error("200us does not look faster than 210us")
	}
}

func TestPeak(t *testing.T) {
	var l Latency
	p := l.PeakOf(10 * time.Second)
	if l.PeakOf(10*time.Second) != p || l.PeakOf(time.Second) == p {
		t.Error("an average for each decay time, and one only")
	}
	p.ObservePeak(0, 10*ms, p.Decay)
	p.ObservePeak(ms, time.Second, p.Decay)
	near(t, "a peak", p.Value(ms, p.Decay), time.Second, ms)
	for i := range 100 {
		p.ObservePeak(time.Duration(2+i)*ms, 10*ms, p.Decay)
	}
	near(t, "a peak 100 ms later", p.Value(102*ms, p.Decay), 990*ms, 2*ms)
}

// The clock of an average goes round every 4.6 hours; a sample that another
// goroutine took a moment later has no age.
func TestAge(t *testing.T) {
	round := uint64(1) << tickBits
	for _, tt := range []struct {
		from, to uint64
		want     time.Duration
	}{{5, 9, 4 * tick}, {round - 1, 1, 2 * tick}, {9, 5, 0}, {1, round - 1, 0}} {
		if got := age(tt.from, tt.to); got != tt.want {
			t.Errorf("from %d to %d: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestFade(t *testing.T) {
	for x := 0.0; x <= 8; x += 0.25 {
		got, want := fade(time.Duration(x*float64(time.Second)), time.Second), math.Exp(-x)
		if math.Abs(got-want) > 0.01 {
			t.Errorf("fade(%v) is %v, want %v", x, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	h.ready()
	for i := 1; i <= 1000; i++ {
		h.Observe(time.Second, time.Duration(i)*ms)
	}
	for i, got := range h.Quantiles(2*time.Second, 0, 0.5, 0.99) {
		want := []time.Duration{ms, 500 * ms, 990 * ms}[i]
		if got < want || float64(got) > float64(want)*1.126 {
			t.Errorf("quantile %d is %v, want %v or up to 12.5 %% more", i, got, want)
		}
	}
	h.Observe(40*time.Second, time.Hour)
	if got := h.Quantiles(40*time.Second, 0.5)[0]; got > 600*ms {
		t.Errorf("the window before is forgotten: median %v", got)
	}
	h.Observe(70*time.Second, ms)
	if got := h.Quantiles(70*time.Second, 0)[0]; got > 2*ms {
		t.Errorf("the window before the last is not forgotten: minimum %v", got)
	}
	if got := h.Quantiles(time.Hour, 0.5)[0]; got != 0 {
		t.Errorf("median %v an hour later, want none", got)
	}
	totals := h.Totals() // which forget nothing
	bounds, cumulative := totals.Bounds, totals.Cumulative
	for i, d := range bounds {
		want := uint64(min(d-1, 1000*ms)/ms) + 1 // of 1 ms, 2 ms, ... 1 s, and another of 1 ms
		if d <= ms {
			want = 0
		}
		if i == len(bounds)-1 {
			want = 1002 // with that of an hour
		}
		if cumulative[i] != want {
			t.Errorf("%d were shorter than %v, want %d", cumulative[i], d, want)
		}
	}
	for d := time.Duration(1); d < time.Hour; d = d*9/8 + 1 {
		if b := bucketOf(d); upperBound(b) <= min(d, 60*time.Second) || b > 0 && upperBound(b-1) > d {
			t.Fatalf("%v is in the bucket up to %v", d, upperBound(b))
		}
	}
}

func TestByLoad(t *testing.T) {
	last := -1
	for load := range 5000 {
		if c := loadClass(load); c < last || c > last+1 || c >= loadClasses {
			t.Fatalf("load %d has class %d after %d", load, c, last)
		} else {
			last = c
		}
	}
	s := NewState()
	b := s.ByLoad()
	if b.At(3, 0) != 0 {
		t.Error("a latency without samples")
	}
	s.Answer(&Attempt{Status: 200, FirstByte: 10 * ms, Load: 1})
	s.Answer(&Attempt{Status: 200, FirstByte: 80 * ms, Load: 20})
	near(t, "the latency when idle", b.At(1, 80*ms), 10*ms, ms)
	near(t, "the latency under load", b.At(22, 80*ms), 80*ms, ms)
	near(t, "the latency at the nearest load", b.At(3, 80*ms), 10*ms, ms)
	if v := b.At(3, 10*time.Second); v != 0 {
		t.Errorf("the latency under load that was seen long ago is %v, want none", v)
	}
	near(t, "the latency when idle that was seen long ago", b.At(1, 10*time.Second), 10*ms*368/1000, ms)
}

// What a failed attempt records instead of its time, and what a client that
// goes away proves.
func TestOutcomesAndLatency(t *testing.T) {
	second := time.Second
	for _, tt := range []struct {
		name       string
		attempt    Attempt
		end        time.Duration
		err        error
		clientGone bool
		header     time.Duration // after an earlier 100 ms, both counting half
	}{
		{"an answer", Attempt{Status: 200, FirstByte: 300 * ms}, 400 * ms, nil, false, 200 * ms},
		{"a failure at once", Attempt{}, ms, syscall.ECONNREFUSED, false, 2550 * ms},
		{"a 503 at once", Attempt{Status: 503, FirstByte: ms}, ms, nil, false, 2550 * ms},
		{"a 500", Attempt{Status: 500, FirstByte: ms}, ms, nil, false, 2550 * ms},
		{"a 404", Attempt{Status: 404, FirstByte: 20 * ms}, 20 * ms, nil, false, 60 * ms},
		{"a 429 with Retry-After", Attempt{Status: 429, FirstByte: ms, RetryAfter: 60 * second}, ms, nil, false, 30050 * ms},
		{"Retry-After of a day", Attempt{Status: 503, FirstByte: ms, RetryAfter: 24 * time.Hour}, ms, nil, false, 150050 * ms},
		{"a client that waited longer", Attempt{}, second, context.Canceled, true, 2 * second},
		{"a client that waited shorter", Attempt{}, 50 * ms, context.Canceled, true, 100 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := NewState()
			s.Answer(&Attempt{Status: 200, FirstByte: 100 * ms})
			a := tt.attempt
			if a.Status != 0 {
				s.Answer(&a)
			}
			s.End(&a, tt.end, tt.err, tt.clientGone)
			// Samples are at most seconds old: they have hardly faded.
			near(t, "the time to the header", s.Header.Value(max(tt.end, 100*ms), latencyDecay), tt.header, tt.header/50)
		})
	}
}

func TestTunnelsDoNotCountAsSlow(t *testing.T) {
	s := NewState()
	a := &Attempt{Status: http.StatusSwitchingProtocols, FirstByte: ms}
	s.Answer(a)
	s.End(a, time.Hour, nil, false)
	if v := s.Body.Value(time.Hour, latencyDecay); v != 0 {
		t.Errorf("a tunnel of an hour makes the time to the last byte %v", time.Duration(v))
	}
}

func TestFailureOf(t *testing.T) {
	caddys := func(err error) error {
		return reverseproxy.NewDialError(&net.OpError{Op: "dial", Net: "tcp", Err: err})
	}
	dial := func(err error) error { return fmt.Errorf("dialing: %w", &net.OpError{Op: "dial", Err: err}) }
	h2 := errors.New("stream error: stream ID 1; CANCEL; received from peer")
	for want, errs := range map[Failure][]error{
		NoFailure: {nil},
		Refused: {dial(syscall.ECONNREFUSED), dial(syscall.EHOSTUNREACH), dial(syscall.ENOENT), &net.DNSError{Err: "no such host"},
			caddys(os.NewSyscallError("connect", syscall.ECONNREFUSED)), caddys(&net.DNSError{Err: "no such host"})},
		Local: {
			dial(os.NewSyscallError("socket", syscall.EMFILE)), dial(syscall.ENFILE), dial(syscall.ENOBUFS), dial(syscall.ENOMEM),
			dial(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)), dial(syscall.EADDRINUSE),
			&net.OpError{Op: "write", Err: syscall.ENOBUFS},
			caddys(os.NewSyscallError("socket", syscall.EMFILE)),
			dial(&net.DNSError{Err: "dial udp 10.0.0.53:53: socket: too many open files", Name: "app", Server: "10.0.0.53:53"}),
		},
		Reset:      {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, io.ErrUnexpectedEOF, io.EOF, syscall.EPIPE, h2},
		Timeout:    {caddys(os.ErrDeadlineExceeded), caddys(context.DeadlineExceeded), dial(os.ErrDeadlineExceeded), context.DeadlineExceeded},
		TLSFailure: {tls.RecordHeaderError{Msg: "not TLS"}, tls.AlertError(42), &tls.CertificateVerificationError{Err: errors.New("expired")}},
		Unsent:     {errors.New(`net/http: invalid header field value for "X-A"`), errors.New("net/http: HTTP/1.x transport connection broken: http: invalid Host header")},
		Protocol:   {errors.New("malformed HTTP response")},
	} {
		for _, err := range errs {
			if got := FailureOf(err); got != want {
				t.Errorf("%v is %v, want %v", err, got, want)
			}
		}
	}
}

func TestEWMAInParallel(t *testing.T) {
	var e EWMA
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				e.Observe(time.Duration(i)*ms, 50*ms, time.Second)
			}
		})
	}
	wg.Wait()
	near(t, "the average of equal samples", e.Value(999*ms, time.Second), 50*ms, ms/10)
}

// Silence begins with the first request that waits, begins anew with each answer or
// failure while others wait, and ends with the last. A client that leaves breaks none.
func TestSilence(t *testing.T) {
	b := New("", Settings{}, NewState(), nil, nil)
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
