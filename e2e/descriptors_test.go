// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestFewDescriptors has more clients ask at once for something slow than a Caddy with 220 file descriptors has
// connections for. Attempts and probes fail for want of descriptors; no backend is ejected or down for it, and all
// requests are answered again as soon as there are descriptors.
func TestFewDescriptors(t *testing.T) {
	backends, to := startThree(t)
	gate := make(chan struct{})
	for _, b := range backends {
		slow := answerAfter(gate)
		b.serves(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				slow(w, r)
				return
			}
			b.name(w, r)
		})
	}
	c := &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir()}
	c.binary = filepath.Join(c.dir, "limited")
	if err := os.WriteFile(c.binary, fmt.Appendf(nil, "#!/bin/sh\nulimit -n 220\nexec %s \"$@\"\n", caddyBinary), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	port := freePort(t)
	c.start("", poolSite(port, "to"+to+"\nhealth http /health {\ninterval 300ms\nfails 2\n}", ""))
	probes := func() (n int64) {
		for _, b := range backends {
			n += b.probes.Load()
		}
		return n
	}
	eventually(t, "backends are probed", func() bool { return probes() >= 6 })

	var clients []net.Conn
	for range 130 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, conn)
	}
	var drained sync.WaitGroup
	for _, conn := range clients {
		fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		drained.Go(func() { io.Copy(io.Discard, conn) })
	}
	eventually(t, "descriptors are short", func() bool {
		return c.log.count("local resources for connections are exhausted; the failed attempts and probes do not count against backends", nil) > 0
	})
	<-time.After(3 * time.Second) // several intervals, in which probes meet the shortage, too
	close(gate)
	drained.Wait()

	for range 100 {
		if status, _ := get(t, port); status != http.StatusOK {
			t.Errorf("status %d after the shortage", status)
		}
	}
	for _, b := range backends {
		c.expectHistory(b.address)
	}
	c.expectHistory("")
}
