// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main()
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"-quick", "-rate", "100"}); err != nil || o.rounds != 1 || o.duration != 5*time.Second || o.rate != 100 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-connections", "0"}, {"-rate", "0"}, {"-duration", "0s"}, {"-rounds", "0"}, {"now"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

// Each connection is opened once and used in turn.
func TestConnectionsAreHeld(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	n, err := network.Start(network.Topology{Clients: make([]network.Host, clientHosts), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := connect(t.Context(), n.Clients(), "direct", server.URL, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if !c.stayed() {
		t.Errorf("%d opened, %d answered", c.dials.Load(), c.answered.Load())
	}
	r := c.send(t.Context(), 400, 0, 250*time.Millisecond)
	// The schedule has a fixed seed: the number of due requests does not depend on the machine.
	if !c.stayed() || r.Due() < 60 || r.Due() != r.Count(loadgen.Answered) {
		t.Errorf("%d opened, %d of %d answered", c.dials.Load(), r.Count(loadgen.Answered), r.Due())
	}
}

func TestParseWrk(t *testing.T) {
	const text = `Running 10s test @ http://127.0.0.1:9911/
  1 threads and 20 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    46.11ms   14.00ms 200.20ms   95.00%
  Latency Distribution
     50%   43.11ms
     75%   46.00ms
     90%   56.14ms
     99%    1.02s
  4298 requests in 10.00s, 617.00KB read
Requests/sec:    429.76
Transfer/sec:     61.70KB
`
	got, err := parseWrk(text)
	if want := (seen{429.76, 43110 * time.Microsecond, 1020 * time.Millisecond}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := parseWrk("unable to connect"); err == nil {
		t.Error("invalid output is accepted")
	}
}
