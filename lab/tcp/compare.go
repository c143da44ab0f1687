// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// benchmark is a program that measures the server at an address.
type benchmark struct {
	name, unit string
	program    string
	args       string // with HOST and PORT
	count      int    // of requests
	rate       *regexp.Regexp
	latency    *regexp.Regexp // mean, in ms
}

// Lines of redis-benchmark --csv begin with the name of the test, the rate, and the mean latency.
var (
	redisRate    = regexp.MustCompile(`(?m)^"GET[^"]*","([0-9.]+)"`)
	redisLatency = regexp.MustCompile(`(?m)^"GET[^"]*","[0-9.]+","([0-9.]+)"`)
)

var redisBenchmarks = []benchmark{
	{"redis-benchmark, GET, 50 clients", "requests/s", "redis-benchmark", "-h HOST -p PORT --csv -c 50 -n 40000 -t get", 40_000, redisRate, redisLatency},
	{"the same, pipelines of 16", "requests/s", "redis-benchmark", "-h HOST -p PORT --csv -c 50 -P 16 -n 300000 -t get", 300_000, redisRate, redisLatency},
}

var postgresBenchmarks = []benchmark{
	{"pgbench -S -M prepared, 8 clients", "transactions/s", "pgbench", "-h HOST -p PORT -U postgres -n -S -M prepared -c 8 -t 4000 postgres", 32_000,
		regexp.MustCompile(`(?m)^tps = ([0-9.]+)`), regexp.MustCompile(`(?m)^latency average = ([0-9.]+) ms`)},
}

// compareAll runs the benchmarks whose servers are available.
func (c *comparison) compareAll(ctx context.Context) error {
	node := c.network.Backends()[0]
	redis, err := testbed.Address(c.network, node)
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(redis)
	server, err := testbed.StartProcess(node, node.Command("redis-server", "--bind", host, "--port", port, "--save", "", "--dir", c.dir), filepath.Join(c.dir, "redis.log"), redis)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		fmt.Println("redis-server is not installed, and left out")
	case err != nil:
		return err
	default:
		defer server.Kill()
		if err := c.compare(ctx, redis, redisBenchmarks); err != nil {
			return err
		}
	}
	if c.postgres == "" {
		return nil
	}
	return c.compare(ctx, c.postgres, postgresBenchmarks)
}

// figures are the results of a benchmark through one balancer, one value for each round.
type figures struct {
	rates, latencies report.Figure
	cpu              time.Duration // of the balancer, in all rounds
}

// compare runs each benchmark round by round, through all balancers and without any, in random order.
func (c *comparison) compare(ctx context.Context, backend string, benchmarks []benchmark) error {
	running, err := c.start(backend)
	if err != nil {
		return err
	}
	defer stop(running)
	running = append(running, balancer{name: "direct", address: backend})
	for _, b := range benchmarks {
		results := make(map[string]*figures)
		for _, r := range running {
			results[r.name] = new(figures)
		}
		for range c.rounds {
			for _, i := range rand.Perm(len(running)) {
				if err := b.measure(ctx, running[i], results[running[i].name]); err != nil {
					return fmt.Errorf("%s: %w", running[i].name, err)
				}
			}
		}
		fmt.Printf("\n%s: medians of %d rounds, and of the ratios to the proxy of caddy-l4 in each round\n", b.name, c.rounds)
		for _, r := range running {
			f := results[r.name]
			ratios := f.rates.Over(results[proxy].rates)
			fmt.Printf("%-18s %8.0f %s  %.3f ms  ratio %.3f", r.name, f.rates.Median(), b.unit, f.latencies.Median(), ratios.Median())
			if r.process != nil {
				fmt.Printf("  %.2f µs of its CPU time each", float64(f.cpu.Nanoseconds())/1000/float64(c.rounds*b.count))
			}
			fmt.Println()
		}
	}
	return nil
}

// measure runs the benchmark once through a balancer, and adds the results.
func (b benchmark) measure(ctx context.Context, through balancer, f *figures) error {
	cpu := func() time.Duration {
		if through.process == nil {
			return 0
		}
		return machine.CPUTime(through.process.Pid())
	}
	before := cpu()
	rate, latency, err := b.run(ctx, through.address)
	f.rates, f.latencies, f.cpu = append(f.rates, rate), append(f.latencies, latency), f.cpu+cpu()-before
	return err
}

// run runs the program once.
func (b benchmark) run(ctx context.Context, address string) (rate, latency float64, err error) {
	host, port, _ := net.SplitHostPort(address)
	args := strings.Fields(strings.NewReplacer("HOST", host, "PORT", port).Replace(b.args))
	out, err := exec.CommandContext(ctx, b.program, args...).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", b.program, err)
	}
	find := func(re *regexp.Regexp) (value float64) {
		if m := re.FindSubmatch(out); m != nil {
			value, _ = strconv.ParseFloat(string(m[1]), 64)
		}
		return value
	}
	rate, latency = find(b.rate), find(b.latency)
	if rate <= 0 || latency <= 0 {
		return 0, 0, fmt.Errorf("%s printed %s", b.program, out)
	}
	return rate, latency, nil
}
