// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
)

// back is how long a fleet may take to be back after its store is: three seconds, which the tests
// log, and as much again as a busy machine may take.
const back = 10 * time.Second

// moreGoroutines, moreConnections and moreMemory, in bytes, are what may be there in a fault and was not
// before: of each client one connection that is made, and one that ends, and the changes that wait.
const (
	moreGoroutines  = 48
	moreConnections = 12
	moreMemory      = 16 << 20
)

// memory returns the bytes that are in use.
func memory() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// fault is something that happens to Redis, and its end.
type fault struct {
	tokens string // of the store
	begin  func()
	end    func()
	silent bool           // calls may go on to succeed
	server func() *server // that serves after the end
	closes func()         // ends what others than the fleet have begun meanwhile; nil for nothing
}

// survives checks what a fault does to a fleet of three instances: their calls end, nothing is lost,
// they are back soon, and neither goroutines, connections nor memory grow. Of the requests through three
// proxies in another fleet, none fails or waits.
func (f fault) survives(t *testing.T) {
	t.Helper()
	leaks := conformance.Goroutines(t)
	var members []*member
	for i := range 3 {
		members = append(members, join(t, fmt.Sprint("instance", i), f.tokens))
	}
	every := func(cond func(*member) bool) func() bool {
		return func() bool {
			for _, m := range members {
				if !cond(m) {
					return false
				}
			}
			return true
		}
	}
	const n = 50
	for i, m := range members {
		m.publish(fmt.Sprint("before ", i), n)
	}
	requests := startTraffic(t, f.tokens)
	eventually(t, "all instances have all records", every(func(m *member) bool {
		return m.connected() && m.Len() == 3*n && m.Instances().Len() == 3 && requests.connected()
	}))
	requests.reset()
	goroutines, connections, used := runtime.NumGoroutine(), f.server().connections(), memory()

	f.begin()
	var failed, finished [3]int64
	for i, m := range members {
		failed[i], finished[i] = m.failed.Load(), m.finished.Load()
		m.publish(fmt.Sprint("during ", i), n)
	}
	most := 0
	for i, m := range members {
		eventually(t, "calls end", func() bool {
			most = max(most, runtime.NumGoroutine())
			return m.finished.Load() >= finished[i]+5 && (f.silent || m.failed.Load() >= failed[i]+3)
		})
		if m.Len() < 4*n {
			t.Errorf("an instance has lost records: it has %d", m.Len())
		}
	}
	if most > goroutines+moreGoroutines {
		t.Errorf("%d goroutines before, %d in the fault", goroutines, most)
	}
	if now := memory(); now > used+moreMemory {
		t.Errorf("%d bytes in use before, %d in the fault", used, now)
	}

	f.end()
	began := time.Now()
	within(t, back, "the fleet is back", every(func(m *member) bool {
		return m.connected() && m.Len() == 6*n && m.Instances().Len() == 3 && requests.connected()
	}))
	t.Logf("back after %v", time.Since(began).Round(time.Millisecond))
	store := open(t, f.tokens)
	eventually(t, "Redis has all records", func() bool { records, _ := all(t, store); return len(records) == 6*n })
	_ = store.Close()
	eventually(t, "connections and goroutines do not grow", func() bool {
		return runtime.NumGoroutine() <= goroutines+moreGoroutines && f.server().connections() <= connections+moreConnections
	})
	requests.mustNotWait()
	requests.stop()
	for _, m := range members {
		m.leave()
	}
	f.server().kill() // it was perhaps started by the fault
	if f.closes != nil {
		f.closes()
	}
	leaks(soon)
}

// survives is that of a fault of one server.
func (s *server) survives(t *testing.T, silent bool, begin, end func()) {
	t.Helper()
	fault{tokens: "redis " + s.address, begin: begin, end: end, silent: silent, server: func() *server { return s }}.survives(t)
}

// killed has Redis end without a word and come back, without its records.
func TestRedisKilled(t *testing.T) {
	s := startServer(t)
	s.survives(t, false, s.kill, s.start)
}

// The kernel accepts connections, and nobody answers.
func TestRedisStopped(t *testing.T) {
	s := startServer(t)
	s.survives(t, false, s.hang, s.resume)
}

func TestRedisBlackholed(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.address)
	fault{
		tokens: "redis " + p.address, server: func() *server { return s },
		begin: func() { p.swallow.Store(true) }, end: func() { p.swallow.Store(false) },
	}.survives(t)
}

// Redis answers reads and refuses writes, as a replica does.
func TestRedisReadOnly(t *testing.T) {
	s := startServer(t)
	s.survives(t, false,
		func() { s.do("REPLICAOF", "127.0.0.1", freePort(t)) },
		func() { s.do("REPLICAOF", "NO", "ONE") })
}

func TestRedisOutOfMemory(t *testing.T) {
	s := startServer(t, "--maxmemory-policy", "noeviction")
	s.survives(t, false,
		func() { s.do("CONFIG", "SET", "maxmemory", "100kb") },
		func() { s.do("CONFIG", "SET", "maxmemory", "0") })
}

func TestRedisFlushed(t *testing.T) {
	s := startServer(t)
	s.survives(t, true, func() { s.do("FLUSHALL") }, func() {})
}

// Redis restarts so fast that hardly a call fails, and has lost all.
func TestRedisRestartedEmpty(t *testing.T) {
	s := startServer(t)
	s.survives(t, true, func() { s.kill(); s.start() }, func() {})
}
