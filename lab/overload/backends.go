// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// backends are the backends of all balancers.
type backends []*testbed.Backend

func startBackends(n *network.Network, s *scenario, dir string) (all backends, err error) {
	for _, node := range n.Backends() {
		b, err := testbed.StartBackend(n, node, dir, testbed.ServerConfig{Workers: s.workers, Behavior: s.behavior})
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// pids returns the process ids.
func (all backends) pids() (pids []int) {
	for _, b := range all {
		pids = append(pids, b.Pid())
	}
	return pids
}

// totals are the counts of all backends.
type totals struct {
	// peak is the highest number of requests in flight of one backend since the last call, and busy
	// the current number of all.
	peak, busy int
	// requests is the number of requests to all backends since their start.
	requests int64
}

func (all backends) counts() (t totals, err error) {
	for _, b := range all {
		c, err := b.Counts()
		if err != nil {
			return totals{}, err
		}
		t.peak = max(t.peak, int(c.Peak))
		t.busy += int(c.InFlight)
		t.requests += c.Requests
	}
	return t, nil
}

// rest waits until all backends are idle, and returns the number of their requests.
func (all backends) rest() (requests int64, err error) {
	const soon = 30 * time.Second
	for deadline := time.Now().Add(soon); ; time.Sleep(100 * time.Millisecond) {
		t, err := all.counts()
		switch {
		case err != nil:
			return 0, err
		case t.busy == 0:
			time.Sleep(300 * time.Millisecond) // connections are still being closed
			t, err := all.counts()
			return t.requests, err
		case time.Now().After(deadline):
			return 0, fmt.Errorf("the backends have %d requests, %v after the last client has left", t.busy, soon)
		}
	}
}
