// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
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
		free := false
		unforked(func() {
			if l, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
				l.Close()
				free = true
			}
		})
		if free {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// unforked runs f while no process is forked. A process holds all descriptors of the tests until its
// exec: of a listener that f opens and closes, the port would stay taken for that time.
func unforked(f func()) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f()
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

// TestFreePortsWhileProcessesStart listens on ports at once, and again, while processes start.
func TestFreePortsWhileProcessesStart(t *testing.T) {
	done := make(chan struct{})
	var starting sync.WaitGroup
	for range 2 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = exec.Command("true").Run()
				}
			}
		})
	}
	b := startScripted(t, freeAddress(t), nil)
	for range 1000 {
		if l, err := net.Listen("tcp", freeAddress(t)); err != nil {
			t.Error(err)
		} else {
			l.Close()
		}
		b.stop()
		b.start()
	}
	close(done)
	starting.Wait()
}
