// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
)

const (
	// timeout is the timeout of a client.
	timeout = time.Second
	// maxClients bounds the waiting clients: those of a second at ten times the capacity, and some
	// more.
	maxClients = 8000
)

// refusals are the statuses with which balancers refuse requests. nginx sends 502.
var refusals = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout}

// quietMeasure waits until other processes use few CPUs, and repeats the step if they used many
// during it. It returns the attempt in which they used the least.
func quietMeasure(o options, s *scenario, b backends, p *proxy, l load, seed uint64) (best *figures, err error) {
	for range s.tries {
		for until := time.Now().Add(o.wait); time.Now().Before(until); {
			m := machine.NewMeter()
			if time.Sleep(time.Second); m.Others() <= o.others {
				break
			}
		}
		f, err := measure(o, s, b, p, l, seed)
		if err != nil {
			return nil, err
		}
		if best == nil || f.others < best.others {
			best = f
		}
		if best.others <= o.others {
			break
		}
		fmt.Fprintf(os.Stderr, "others use %.0f %% of the machine\n", 100*f.others)
	}
	return best, nil
}

// measure sends a load to one balancer, and returns when the backends are idle.
func measure(o options, s *scenario, b backends, p *proxy, l load, seed uint64) (*figures, error) {
	runtime.GC()
	client, err := loadgen.NewClient(loadgen.Target{URL: "http://" + p.address, Connections: maxClients, Refusals: refusals})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	first, err := b.counts()
	if err != nil {
		return nil, err
	}
	before, meter := machine.CPUTime(p.Pid()), machine.NewMeter(append(b.pids(), p.Pid())...)
	r := loadgen.Run(context.Background(), loadgen.Config{
		Schedule: l.schedule(s, seed, o.fixed), WarmUp: s.warm, Length: s.length, Timeout: timeout, MaxInFlight: maxClients,
		Do: func(ctx context.Context, _ loadgen.Request) loadgen.Reply { return client.Do(ctx) },
	})
	f := &figures{Result: r, cpu: machine.CPUTime(p.Pid()) - before, others: meter.Others()}
	last, err := b.counts()
	if err != nil {
		return nil, err
	}
	f.peak = last.peak
	requests, err := b.rest()
	f.attempts = requests - first.requests
	return f, err
}
