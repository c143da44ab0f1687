// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

const (
	// clientHosts is how many addresses connections come from: an address has some 28,000 ports.
	clientHosts = 4
	// fewConnections are those of the measurement that many are compared with.
	fewConnections = 100
	// latencyRate is that of the comparison of latencies, far below what any of them can do.
	latencyRate = 500
	patience    = 10 * time.Second
)

// subject is a balancer, or a backend without one.
type subject struct {
	name, url string
	process   *testbed.Process // nil for a backend
}

// loadTest is a run.
type loadTest struct {
	options
	ctx     context.Context
	network *network.Network
	dir     string

	direct   subject
	proxies  []subject
	backends []*testbed.Backend
}

func cpus() string { return fmt.Sprintf("%d CPUs", runtime.NumCPU()) }

// start starts the backends and both balancers.
func (t *loadTest) start() error {
	var to string
	for _, node := range t.network.Backends() {
		b, err := testbed.StartBackend(t.network, node, t.dir, testbed.ServerConfig{})
		if err != nil {
			return err
		}
		t.backends = append(t.backends, b)
		to += " " + b.Address()
	}
	t.direct = subject{name: "direct", url: "http://" + t.backends[0].Address() + "/"}
	for _, kind := range []struct{ name, site string }{
		{"Ballast", "reverse_proxy {\ndynamic pool {\nto" + to + "\nhealth http /health\n}\n}"},
		{"plain Caddy", "reverse_proxy" + to + " {\nlb_policy random_choose 2\n}"},
	} {
		address, err := testbed.Address(t.network, t.network.Balancer())
		if err != nil {
			return err
		}
		p, err := testbed.StartCaddy(t.network.Balancer(), t.caddy, t.dir, testbed.Caddyfile(address, "", kind.site), address)
		if err != nil {
			return err
		}
		t.proxies = append(t.proxies, subject{kind.name, "http://" + address + "/", p})
	}
	return nil
}

// held is the result of requests over connections that stay open.
type held struct {
	*loadgen.Result
	dials  int64 // connections that were opened
	used   int   // connections with an answer
	memory int64 // of the balancer at the end, in bytes, while the connections are open
	cpu    time.Duration
}

// send sends requests at random over so many connections, in turn.
func (t *loadTest) send(s subject, connections int, rate float64, warmUp, length time.Duration) (*held, error) {
	h := &held{}
	var dials atomic.Int64
	clients := make([]*loadgen.Client, connections)
	for i := range clients {
		dial := t.network.Clients()[i%clientHosts].Dial
		c, err := loadgen.NewClient(loadgen.Target{URL: s.url, Connections: 1, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		clients[i] = c
	}
	used := make([]bool, connections)
	if s.process != nil {
		h.cpu = -machine.CPUTime(s.process.Pid())
	}
	h.Result = loadgen.Run(t.ctx, loadgen.Config{
		Schedule: loadgen.Poisson(rate, 1), WarmUp: warmUp, Length: length, Timeout: patience, MaxInFlight: max(2*connections, 10_000),
		Do: func(ctx context.Context, r loadgen.Request) loadgen.Reply {
			return clients[r.Number%connections].Do(ctx)
		},
		Each: func(s loadgen.Sample) {
			if s.Outcome == loadgen.Answered {
				used[s.Number%connections] = true
			}
		},
		Progress: func(p loadgen.Progress) {
			fmt.Fprintf(os.Stderr, "%s, %d connections: %3.0f s, %d answered, p99 %.1f ms\n", s.name, connections, p.Elapsed.Seconds(),
				p.Recent.Count(loadgen.Answered), p.Recent.Latency(0.99).Seconds()*1e3)
		},
	})
	for _, u := range used {
		if u {
			h.used++
		}
	}
	h.dials = dials.Load()
	if s.process != nil {
		h.memory = machine.ResidentMemory(s.process.Pid())
		h.cpu += machine.CPUTime(s.process.Pid())
	}
	return h, t.ctx.Err()
}

// measure makes all measurements: memory and rate with few connections and with many, and latencies.
func (t *loadTest) measure(e *report.Experiment) error {
	// All connections are opened before requests count, one after the other.
	warmUp := 5*time.Second + time.Duration(float64(t.connections)/t.rate*float64(time.Second))
	table := report.Table{
		Caption: fmt.Sprintf("%.0f requests a second at random. Memory is what the process has resident, with garbage; a connection is to a client, with its part of those to backends", t.rate),
		Header:  []string{"", "connections", "answers/s", "not answered", "p50 ms", "p99 ms", "p99.9 ms", "memory MB", "KB a connection", "CPU µs a request"},
	}
	for _, s := range t.proxies {
		few, err := t.send(s, min(fewConnections, t.connections), t.rate, warmUp, max(t.duration/6, 5*time.Second))
		if err != nil {
			return err
		}
		many, err := t.send(s, t.connections, t.rate, warmUp, t.duration)
		if err != nil {
			return err
		}
		each := float64(many.memory-few.memory) / float64(max(t.connections-fewConnections, 1)) / 1024
		for _, h := range []*held{few, many} {
			connections, cost := min(fewConnections, t.connections), ""
			if h == many {
				connections, cost = t.connections, fmt.Sprintf("%.1f", each)
			}
			sent := t.rate * (h.Length + warmUp).Seconds()
			table.Rows = append(table.Rows, []string{
				s.name, fmt.Sprint(connections), fmt.Sprintf("%.0f", h.Rate(h.Count(loadgen.Answered))), fmt.Sprint(h.Due() - h.Count(loadgen.Answered)),
				ms(h.Latency(0.5)), ms(h.Latency(0.99)), ms(h.Latency(0.999)), fmt.Sprintf("%.0f", float64(h.memory)/(1<<20)), cost,
				fmt.Sprintf("%.0f", h.cpu.Seconds()*1e6/sent),
			})
		}
		if s.name != t.proxies[0].name {
			continue
		}
		due, answered := many.Due(), many.Count(loadgen.Answered)
		e.Findings = append(e.Findings,
			report.Finding{Claim: fmt.Sprintf("%d connections stay open, and each has answers", t.connections),
				Seen: fmt.Sprintf("%d opened, %d with answers", many.dials, many.used), Pass: many.dials == int64(t.connections) && many.used == t.connections},
			report.Finding{Claim: fmt.Sprintf("%.0f requests a second are answered for %v, 99.9 %% or more", t.rate, t.duration),
				Seen: fmt.Sprintf("%d of %d, %.0f a second", answered, due, many.Rate(answered)), Pass: float64(answered) >= 0.999*float64(due)})
		if many.Late > 0 {
			e.Remarks = append(e.Remarks, fmt.Sprintf("The generator sent %.1f %% of the requests more than 10 ms late, which is in the latencies: the machine is at its limit.", 100*float64(many.Late)/float64(due)))
		}
	}
	e.Tables = append(e.Tables, table)
	if err := t.latencies(e); err != nil {
		return err
	}
	return t.crossCheck(e)
}

// latencies compares those of both balancers with direct connections, which take turns.
func (t *loadTest) latencies(e *report.Experiment) error {
	all := append([]subject{t.direct}, t.proxies...)
	quantiles := []float64{0.5, 0.9, 0.99}
	seen := make(map[string]map[float64][]float64)
	for round := range t.rounds {
		for turn := range all {
			s := all[(round+turn)%len(all)]
			h, err := t.send(s, 20, latencyRate, time.Second, max(t.duration/6, 5*time.Second))
			if err != nil {
				return err
			}
			if seen[s.name] == nil {
				seen[s.name] = make(map[float64][]float64)
			}
			for _, q := range quantiles {
				seen[s.name][q] = append(seen[s.name][q], h.ServiceTime(q).Seconds()*1e3)
			}
		}
	}
	table := report.Table{
		Caption: fmt.Sprintf("Time from sending to the answer, ms, at %d requests a second over 20 connections: median of %d rounds (least to greatest), and what is added to direct connections", latencyRate, t.rounds),
		Header:  []string{"", "p50", "added", "p90", "added", "p99", "added"},
	}
	for _, s := range all {
		row := []string{s.name}
		for _, q := range quantiles {
			values := slices.Sorted(slices.Values(seen[s.name][q]))
			base := slices.Sorted(slices.Values(seen[t.direct.name][q]))
			added := "-"
			if s.name != t.direct.name {
				added = fmt.Sprintf("%.2f", values[len(values)/2]-base[len(base)/2])
			}
			row = append(row, fmt.Sprintf("%.2f (%.2f to %.2f)", values[len(values)/2], values[0], values[len(values)-1]), added)
		}
		table.Rows = append(table.Rows, row)
	}
	e.Tables = append(e.Tables, table)
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }
