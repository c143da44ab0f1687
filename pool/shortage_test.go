// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// lacking returns the error of a connection that this machine has nothing left for.
func lacking(call string, errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(call, errno)}
}

// A proxy that has run out of something cannot tell who is well: while neither
// requests nor probes get a connection nobody goes down, nobody is ejected, and the
// first request afterwards is answered. It says so once a minute.
func TestShortageIsBlamedOnNobody(t *testing.T) {
	for name, err := range map[string]error{
		"descriptors":           lacking("socket", syscall.EMFILE),
		"descriptors of all":    lacking("socket", syscall.ENFILE),
		"buffers":               lacking("connect", syscall.ENOBUFS),
		"memory":                lacking("socket", syscall.ENOMEM),
		"ports":                 lacking("connect", syscall.EADDRNOTAVAIL),
		"descriptors for names": &net.DNSError{Err: "dial udp 10.0.0.53:53: socket: too many open files", Name: "app"},
		// As the resolver of the system's C library says it.
		"the system's resolver": &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: syscall.EMFILE.Error(), Name: "app"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				short := false
				answer := func(*http.Request) (int, error) {
					if short {
						return 0, reverseproxy.NewDialError(err)
					}
					return http.StatusOK, nil
				}
				p := pooled(t, wrr, oneRetry, check(t, ""), lbtest.Backends{"a:1": answer, "b:1": answer, "c:1": answer})
				seen := events(t, p)
				if got := (traffic{rate: 100, length: time.Second}).send(p); got.lost > 0 {
					t.Fatalf("%d requests were lost before", got.lost)
				}
				set := func(on bool) {
					short = on
					w.set(func() {
						if w.lacking = nil; on {
							w.lacking = err
						}
					})
				}
				set(true)
				traffic{rate: 100, length: 90 * time.Second}.send(p)
				set(false)
				if got := (traffic{rate: 100, length: time.Second}).send(p); got.lost > 0 || len(got.served) != 3 {
					t.Errorf("afterwards %d requests were lost, served by %v", got.lost, got.served)
				}
				if len(seen()) > 0 {
					t.Errorf("events: %v", seen())
				}
				told := 0
				for _, line := range p.Logged("error") {
					if strings.HasPrefix(line, "local resources for connections are exhausted") {
						told++
						if !strings.HasSuffix(line, err.Error()) {
							t.Error(line)
						}
					}
				}
				if told != 2 {
					t.Errorf("it was told of %d times in 90 s, want 2", told)
				}
				for _, b := range pool.Pools()[0].View().Members.All {
					if n := b.Totals().Failures[outlier.Local]; n == 0 || b.Failing() > 0 {
						t.Errorf("%s: %d failures of the proxy, failing %v", b.ID, n, b.Failing())
					}
					if r := b.Statuses()[0].Report(); r.Shortages == 0 || r.Fails > 0 {
						t.Errorf("%s: %d probes lacked something, %d failed", b.ID, r.Shortages, r.Fails)
					}
				}
			})
		})
	}
}

// A machine without IPv6 has no address to reach an IPv6 backend from. The error is
// that of used-up ports, but it was never any other: such a backend is down.
func TestBackendThatWasNeverReachedIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := newWorld(t), lacking("connect", syscall.EADDRNOTAVAIL)
		w.lacking = err
		none := func(*http.Request) (int, error) { return 0, reverseproxy.NewDialError(err) }
		for name, health := range map[string]string{"down": check(t, ""), "ejected": ""} {
			p := pooled(t, wrr, oneRetry, health, lbtest.Backends{"a:1": none, "b:1": none, "c:1": none})
			seen := events(t, p)
			traffic{rate: 100, length: 3 * time.Second}.send(p)
			if n := count(seen(), fmt.Sprint("backend_", name)); n == 0 {
				t.Errorf("nobody is %s: %v", name, seen())
			}
			p.Close()
		}
	})
}

// A trial that the proxy cannot make tells nothing: another request makes it.
func TestShortageIsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := lbtest.Refused
		p := pooled(t, wrr, oneRetry, "", three(func(req *http.Request) (int, error) { return answers(req) }))
		seen := events(t, p)
		traffic{rate: 100, length: time.Second}.send(p)
		answers = func(*http.Request) (int, error) {
			answers = lbtest.Latency(0)
			return 0, reverseproxy.NewDialError(lacking("socket", syscall.EMFILE))
		}
		seconds(30)
		traffic{rate: 100, length: time.Second}.send(p)
		if count(seen(), "backend_ejected") != 1 || count(seen(), "backend_returned") != 1 {
			t.Errorf("events: %v", seen())
		}
	})
}
