// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Ports are picked below the range that systems take the ports of outgoing
// connections from, so that no connection of the load takes the port of a
// backend that is to come back.
const firstPort, lastPort = 20000, 29999

var ports struct {
	sync.Mutex
	next int
}

// freePort returns a port that nobody listens on and that is returned once.
func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		// Another run of these tests at the same time should begin elsewhere.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports.next = firstPort + l.Addr().(*net.TCPAddr).Port*7%(lastPort-firstPort)
		l.Close()
	}
	for range lastPort - firstPort {
		port := ports.next
		if ports.next++; ports.next > lastPort {
			ports.next = firstPort
		}
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// freePorts returns ports in a row that nobody listens on.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	row := []int{freePort(t)}
	for len(row) < n {
		next := freePort(t)
		if next != row[len(row)-1]+1 {
			row = row[:0]
		}
		row = append(row, next)
	}
	return row
}

// freeAddress returns an address on loopback that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}
