// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// benchmark is a tool that measures what stands at an address.
type benchmark struct {
	name, unit string
	program    string
	args       string // with HOST and PORT
	count      int    // of requests
	rate       *regexp.Regexp
	latency    *regexp.Regexp // mean, in ms
}

// The lines of redis-benchmark --csv have the rate, and the mean latency.
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

// compareAll runs the benchmarks that there are.
func compareAll(ctx context.Context, o options, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	redis, err := freeAddress()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(redis)
	c := exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err := c.Start(); err != nil {
		fmt.Println("there is no redis-server here, so it is left out")
	} else {
		defer c.Wait()
		defer cancel()
		if err := awaitListener(ctx, redis); err != nil {
			return err
		}
		if err := compare(ctx, o, dir, redis, redisBenchmarks); err != nil {
			return err
		}
	}
	if o.postgres == "" {
		return nil
	}
	return compare(ctx, o, dir, o.postgres, postgresBenchmarks)
}

// compare runs benchmarks round by round, each through all balancers and without any, in random order.
func compare(ctx context.Context, o options, dir, backend string, benchmarks []benchmark) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addresses, pids, err := startBalancers(ctx, o.caddy, dir, backend)
	if err != nil {
		return err
	}
	const direct = "direct"
	addresses[direct] = backend
	var names []string
	for _, name := range append(balancers[:len(balancers):len(balancers)], direct) {
		if addresses[name] != "" {
			names = append(names, name)
		}
	}
	for _, b := range benchmarks {
		rates, latencies, cpu := make(map[string]report.Figure), make(map[string]report.Figure), make(map[string]time.Duration)
		for range o.rounds {
			for _, i := range rand.Perm(len(names)) {
				name := names[i]
				before := machine.CPUTime(pids[name])
				rate, latency, err := b.run(ctx, addresses[name])
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				cpu[name] += machine.CPUTime(pids[name]) - before
				rates[name], latencies[name] = append(rates[name], rate), append(latencies[name], latency)
			}
		}
		fmt.Printf("\n%s: medians of %d rounds, and of the ratios to the proxy of caddy-l4 in each round\n", b.name, o.rounds)
		for _, name := range names {
			ratios := rates[name].Over(rates["proxy of caddy-l4"])
			fmt.Printf("%-18s %8.0f %s  %.3f ms  ratio %.3f", name, rates[name].Median(), b.unit, latencies[name].Median(), ratios.Median())
			if name != direct {
				fmt.Printf("  %.2f µs of its CPU time each", float64(cpu[name].Nanoseconds())/1000/float64(o.rounds*b.count))
			}
			fmt.Println()
		}
	}
	return nil
}

// run runs the tool once.
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
