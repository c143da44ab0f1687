// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Behavior is the behavior of a backend. It can be changed while the backend runs.
type Behavior struct {
	// Work is the cost of a request in iterations of [Compute].
	Work int
	// Wait is an additional wait of a request without CPU time.
	Wait time.Duration
	// Stragglers is the share of requests that wait for StragglerWait instead, from 0 to 1.
	Stragglers    float64
	StragglerWait time.Duration
	// Errors is the share of requests that get a 500 at once, from 0 to 1.
	Errors float64
	// Hang makes requests hang, with HangChecks also health checks.
	Hang, HangChecks bool
}

// ServerConfig is the part of a backend's configuration that does not change.
type ServerConfig struct {
	// Name is the value of the field X-Backend in responses.
	Name string
	// Address is where it listens.
	Address string
	// Workers bounds the requests that are served concurrently; others wait. 0 for no bound.
	Workers int
	// CPU simulates a share of one CPU: after a computation the server pauses. 0 for a host with a
	// CPU limit.
	CPU float64
	// Delay is a delay of each answer. It simulates the round-trip time.
	Delay time.Duration
	// HealthPath is the path of health checks, which need no work. Default /health.
	HealthPath string
	Behavior
}

// serverCommand is the environment variable that makes this program a backend.
const serverCommand = "BALLAST_LAB_SERVER"

// Main runs a backend and does not return, if this process was started by [StartBackend]. Programs that
// start backends call it first.
func Main() {
	config := os.Getenv(serverCommand)
	if config == "" {
		return
	}
	if err := serve(config, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a backend until its input ends. Each line of the input is a new [Behavior], and is answered
// with a line of [Counts].
func serve(config string, in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(1) // a second thread would use up the CPU share faster
	var c ServerConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return err
	}
	s := newServer(c)
	go func() { _ = http.Serve(l, s) }()
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			var b Behavior
			if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
				return err
			}
			s.behavior.Store(&b)
		}
		if err := answers.Encode(s.counts()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Counts are the counts of one backend.
type Counts struct {
	// Requests and Answered count requests and their answers, including errors, without health
	// checks.
	Requests, Answered int64
	// InFlight is the current number of requests in flight, and Peak the highest since the last
	// reading.
	InFlight, Peak int64
}

// server is the handler of a backend.
type server struct {
	ServerConfig
	behavior atomic.Pointer[Behavior]
	workers  chan struct{}
	cpu      sync.Mutex // simulates a CPU: one computation at a time

	requests, answered, inFlight, peak atomic.Int64
}

func newServer(c ServerConfig) *server {
	if c.HealthPath == "" {
		c.HealthPath = "/health"
	}
	s := &server{ServerConfig: c}
	s.behavior.Store(&c.Behavior)
	if c.Workers > 0 {
		s.workers = make(chan struct{}, c.Workers)
	}
	return s
}

func (s *server) counts() Counts {
	return Counts{s.requests.Load(), s.answered.Load(), s.inFlight.Load(), s.peak.Swap(s.inFlight.Load())}
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := s.behavior.Load()
	w.Header().Set("X-Backend", s.Name)
	if r.URL.Path == s.HealthPath {
		if b.Hang && b.HangChecks {
			<-r.Context().Done()
		}
		return
	}
	s.requests.Add(1)
	n := s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	for peak := s.peak.Load(); n > peak && !s.peak.CompareAndSwap(peak, n); peak = s.peak.Load() {
	}
	if b.Hang {
		<-r.Context().Done()
		return
	}
	if s.workers != nil {
		select {
		case s.workers <- struct{}{}:
			defer func() { <-s.workers }()
		case <-r.Context().Done():
			return
		}
	}
	defer s.answered.Add(1)
	time.Sleep(s.Delay)
	if rand.Float64() < b.Errors {
		http.Error(w, "error", http.StatusInternalServerError)
		return
	}
	s.compute(b.Work)
	wait := b.Wait
	if rand.Float64() < b.Stragglers {
		wait = b.StragglerWait
	}
	time.Sleep(wait)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = io.WriteString(w, body)
}

const body = "hello\n"

func (s *server) compute(iterations int) {
	if s.CPU == 0 || s.CPU >= 1 {
		Compute(iterations)
		return
	}
	s.cpu.Lock()
	defer s.cpu.Unlock()
	began := time.Now()
	used := cpuTimeOf(func() { Compute(iterations) })
	time.Sleep(time.Until(began.Add(time.Duration(float64(used) / s.CPU))))
}
