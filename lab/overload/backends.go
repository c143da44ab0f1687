// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

const (
	backendCount = 3
	workers      = 10
	workTime     = 50 * time.Millisecond
	// capacity is what they can answer a second.
	capacity = backendCount * workers * int(time.Second) / int(workTime)
)

// backends are those of all balancers.
type backends []*testbed.Backend

func startBackends(n *network.Network, dir string) (all backends, err error) {
	for _, node := range n.Backends() {
		b, err := testbed.StartBackend(n, node, dir, testbed.ServerConfig{Workers: workers, Behavior: testbed.Behavior{Wait: workTime}})
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// pids are those of the processes.
func (all backends) pids() (pids []int) {
	for _, b := range all {
		pids = append(pids, b.Pid())
	}
	return pids
}

// counts returns the most requests that one backend has had at a time since the last call, and how many
// all have now.
func (all backends) counts() (peak, busy int, err error) {
	for _, b := range all {
		c, err := b.Counts()
		if err != nil {
			return 0, 0, err
		}
		peak = max(peak, int(c.Peak))
		busy += int(c.InFlight)
	}
	return peak, busy, nil
}

// rest waits until they have nothing to do.
func (all backends) rest() error {
	const soon = 30 * time.Second
	for deadline := time.Now().Add(soon); ; time.Sleep(100 * time.Millisecond) {
		_, busy, err := all.counts()
		switch {
		case err != nil:
			return err
		case busy == 0:
			time.Sleep(300 * time.Millisecond) // connections are being closed still
			_, _, err := all.counts()
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("the backends have %d requests, %v after the last client has left", busy, soon)
		}
	}
}
