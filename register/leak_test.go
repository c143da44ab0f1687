// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package register_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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
	defer silent.Close()
	const tries = 5
	var open sync.WaitGroup
	open.Add(tries)
	go func() {
		for range tries {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); conn.Close(); open.Done() }()
		}
	}()
	s := newSite(t, `,"health":[{"check":"http","tls":{},"timeout":"30ms","interval":"1h","initial":"up"}]`, "")
	for range tries {
		r := s.do(http.MethodPost, fmt.Sprintf(`{"address":%q}`, silent.Addr()), "")
		if r.code != http.StatusBadRequest || !strings.Contains(r.Error, "no answer within 30ms") {
			t.Errorf("status %d, %q", r.code, r.Error)
		}
	}
	gone := make(chan struct{})
	go func() { open.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("connections are left")
	}
	s.Close()
	lbtest.NoLeaks(t)
}
