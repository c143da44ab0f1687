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
	// patience is how long a client waits.
	patience = time.Second
	// most is how many clients wait at a time: those of a second at ten times the
	// capacity, and some more.
	most = 8000
)

// refusals are the statuses of proxies that have no room. nginx says 502.
var refusals = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout}

// quietMeasure waits until others use no more of the machine than they may, and makes the
// step again if they do meanwhile. It returns the one with the least of that.
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

// measure asks one proxy for a load. It returns when the backends have nothing to do.
func measure(o options, s *scenario, b backends, p *proxy, l load, seed uint64) (*figures, error) {
	runtime.GC()
	client, err := loadgen.NewClient(loadgen.Target{URL: "http://" + p.address, Connections: most, Refusals: refusals})
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
		Schedule: l.schedule(s, seed, o.fixed), WarmUp: s.warm, Length: s.length, Timeout: patience, MaxInFlight: most,
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
