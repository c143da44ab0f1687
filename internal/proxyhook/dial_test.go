// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"fmt"
	"net"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// Caddy's transport hides the cause of a dial error, all but its text.
func TestFailuresOfCaddysTransport(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	p := lbtest.NewProxy(t, fmt.Sprintf(`{"load_balancing":{"selection_policy":{"policy":"attachtest"}},"upstreams":[{"dial":%q}]}`, address), nil)
	b := backend.New("", backend.Endpoint{Address: address, Settings: backend.Settings{ID: "a", Weight: new(1)}}, backend.NewState(), nil, nil)
	policyOf(p).backends[address] = b
	if _, err := p.Get(); err == nil {
		t.Fatal("answered by nobody")
	}
	if got := b.Totals().Failures; got[outlier.Refused] != 1 || backendtest.Failures(b.Totals()) != 1 {
		t.Errorf("a refused connection counts as %v", got)
	}
}
