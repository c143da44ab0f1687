// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package mirror sends copies of requests to other backends, and discards the answers. A copy is
// complete before it is sent, so the request never waits for it:
//
//	Begin -> Follow -> start   a request without a body, or the body was read to its end
//	Begin -> Follow -> drop    the body is too large, or was not read to its end
//
// Envoy: request_mirror_policies; nginx: mirror; Traefik: mirroring.
package mirror

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// MarkerField is the header field that marks a copy, with the value 1. A request that has it is not
// mirrored, so that there are no loops.
const MarkerField = "X-Ballast-Mirror"

// credentialFields are the header fields that identify or authenticate the client.
var credentialFields = []string{
	"Authorization", "Cookie", "Cookie2", "Proxy-Authorization", "X-Amz-Security-Token", "X-Api-Key", "X-Auth-Token", "X-Csrf-Token", "X-Xsrf-Token",
}

// MirrorPolicy configures which requests are mirrored, and bounds the cost of copies. Read-only.
type MirrorPolicy struct {
	// Ratio is the share of the requests, above 0 and at most 1.
	Ratio float64
	// To lists the dial addresses that get the copies, in turn.
	To []string
	// Methods are the methods of the requests.
	Methods []string
	// Body is the largest request body in bytes.
	Body int64
	// KeepCredentials keeps Authorization, Cookie and similar header fields in copies.
	KeepCredentials bool
	// MaxInFlight is the maximum number of copies in flight, each from its first kept byte to the end of
	// the answer.
	MaxInFlight int
	// Timeout limits a copy from its start to the end of the answer.
	Timeout time.Duration
}

// Mirror makes the copies of the requests of one configuration. Safe for concurrent use.
type Mirror struct {
	policy   MirrorPolicy
	counters *CopyCounters
	ctx      context.Context // ends with the configuration
	end      context.CancelFunc
	turn     atomic.Uint32

	mu       sync.Mutex // guards the fields below
	inFlight int
	stopped  bool
	sending  sync.WaitGroup // copies that were started
}

// New returns a Mirror. It counts in counters, which may outlive it.
func New(policy MirrorPolicy, counters *CopyCounters) *Mirror {
	m := &Mirror{policy: policy, counters: counters}
	m.ctx, m.end = context.WithCancel(context.Background())
	return m
}

// Policy returns the policy.
func (m *Mirror) Policy() MirrorPolicy { return m.policy }

// Context returns the context of all copies, which ends with the configuration.
func (m *Mirror) Context() context.Context { return m.ctx }

// Next returns the index of the next address in turn.
func (m *Mirror) Next() int { return int((m.turn.Add(1) - 1) % uint32(len(m.policy.To))) }

// Begin returns a new copy for a request; nil if the request is not to be mirrored. received is the header of the request as
// the client sent it.
func (m *Mirror) Begin(req *http.Request, received http.Header) *Copy {
	switch {
	case !m.applies(req.Method, received), m.policy.Ratio < 1 && rand.Float64() >= m.policy.Ratio:
		return nil
	case req.ContentLength > m.policy.Body:
		m.counters.drop(TooLarge)
		return nil
	case !m.take():
		m.counters.drop(AtLimit)
		return nil
	}
	return &Copy{mirror: m, length: req.ContentLength}
}

// applies reports whether a request may be mirrored. Upgrades, CONNECT and gRPC may not, since their answers can depend on
// what the client sends later.
func (m *Mirror) applies(method string, received http.Header) bool {
	if !slices.Contains(m.policy.Methods, method) || method == http.MethodConnect {
		return false
	}
	if len(received["Upgrade"]) > 0 || len(received[MarkerField]) > 0 {
		return false
	}
	for _, kind := range received["Content-Type"] {
		if _, grpc := httpx.CutGRPC(kind); grpc {
			return false
		}
	}
	return true
}

// Prepare changes the header of a request into that of a copy: it adds the marker and, by default, removes credentials.
func (m *Mirror) Prepare(header http.Header) {
	if !m.policy.KeepCredentials {
		for _, field := range credentialFields {
			delete(header, field)
		}
	}
	delete(header, "Expect") // the body of a copy is complete
	header[MarkerField] = []string{"1"}
}

// take reserves one of the copies in flight.
func (m *Mirror) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.inFlight >= m.policy.MaxInFlight {
		return false
	}
	m.inFlight++
	m.counters.inFlight.Add(1)
	return true
}

func (m *Mirror) release() {
	m.mu.Lock()
	m.inFlight--
	m.mu.Unlock()
	m.counters.inFlight.Add(-1)
}

// start runs f on a new goroutine, unless the configuration has ended.
func (m *Mirror) start(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return false
	}
	m.sending.Go(f)
	return true
}

// Stop cancels all copies, and waits until they have ended. No copies start afterwards. It may be called more than once,
// and does nothing for a nil Mirror.
func (m *Mirror) Stop() {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.end()
	m.sending.Wait()
}
