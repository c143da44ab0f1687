// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Whoever registers an address that accepts and says nothing is refused, and no
// connection to it stays.
func TestRefusedRegistrationsLeaveNoConnections(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	const tries = 5
	var open atomic.Int32
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			go func() { _, _ = io.Copy(io.Discard, conn); conn.Close(); open.Add(-1) }()
		}
	}()
	s := newSite(t, `,"health":[{"check":"http","tls":{},"timeout":"30ms","interval":"1h","initial":"up"}]`, "")
	for range tries {
		r := s.do(http.MethodPost, fmt.Sprintf(`{"address":%q}`, silent.Addr()), "")
		if r.code != http.StatusBadRequest || !strings.Contains(r.Error, "no answer within 30ms") {
			t.Errorf("status %d, %q", r.code, r.Error)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); open.Load() > 0; <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", open.Load())
		}
	}
	s.Close()
	lbtest.NoLeaks(t)
}
