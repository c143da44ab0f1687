// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command overload compares load balancers in front of backends of a known capacity, and prints the
// outcomes of the requests:
//
//	go run ./overload -scenario overload -length 5s -rounds 2
//
// Backends have workers, which need a time for a request. In the scenario overload the offered load
// grows step by step up to ten times the capacity; in stragglers some answers take ten times as
// long; in surge an overload begins and ends. Arrivals are Poisson, in an open loop, and clients
// time out after a second. The balancers take turns, so that other load on the machine affects all
// of them. Those that are not installed are left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// options are the options of the command line.
type options struct {
	scenarios []*scenario
	only      []string
	fixed     bool
	others    float64
	wait      time.Duration
	caddy     string
}

func main() {
	testbed.Main()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(o)
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("overload", flag.ContinueOnError)
	names := flags.String("scenario", "overload,stragglers,surge", "what to compare them in")
	length := flags.Duration("length", 0, "how long the requests of a step count; default: that of the scenario")
	warm := flags.Duration("warm", 0, "how long requests are sent before that; default: that of the scenario")
	rounds := flags.Int("rounds", 0, "how often each step is made; default: that of the scenario")
	flags.StringVar(&o.caddy, "caddy", "", "a Caddy with Ballast; default: build one")
	flags.Float64Var(&o.others, "others", 0.15, "what part of the machine others may use in a step; else it waits, and may be made again")
	flags.DurationVar(&o.wait, "wait", 20*time.Second, "how long to wait for others before a step")
	times := flags.String("times", "", "what to ask for in overload, in times of what the backends can do; default: "+overloadTimes)
	only := flags.String("only", "", "proxies to compare, by their first words; default: all")
	flags.BoolVar(&o.fixed, "fixed", false, "send at even intervals instead of by chance, except in surge")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *length < 0 || *warm < 0 || *rounds < 0 {
		return o, errors.New("-length, -warm and -rounds must not be below 0")
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	all := scenarios()
	for name := range strings.SplitSeq(*names, ",") {
		i := slices.IndexFunc(all, func(s *scenario) bool { return s.name == name })
		if i < 0 {
			return o, fmt.Errorf("there is no scenario %q", name)
		}
		s := all[i]
		if *length > 0 {
			s.length = *length
		}
		if *warm > 0 {
			s.warm = *warm
		}
		if *rounds > 0 {
			s.rounds = *rounds
		}
		if *times != "" && s.name == "overload" {
			if s.loads, err = parseTimes(*times); err != nil {
				return o, err
			}
		}
		o.scenarios = append(o.scenarios, s)
	}
	return o, nil
}

// parseTimes parses constant loads.
func parseTimes(text string) (loads []load, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || n <= 0 || n > 100 {
			return nil, fmt.Errorf("-times takes numbers above 0, got %q", word)
		}
		loads = append(loads, steady(n))
	}
	return loads, nil
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "ballast-overload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.caddy == "" {
		if o.caddy, err = testbed.BuildCaddy(dir); err != nil {
			return err
		}
	}
	compared := 0
	for _, s := range o.scenarios {
		// Loopback: namespaces would cost CPU time, which all processes share.
		topology := network.Topology{Backends: make([]network.Host, s.backends), Loopback: true}
		err := network.Run(context.Background(), topology, func(ctx context.Context, n *network.Network) error {
			proxies, err := compare(ctx, n, o, s, dir)
			compared += proxies
			return err
		})
		if err != nil {
			return err
		}
	}
	if compared == 0 {
		return errors.New("there is no proxy to compare")
	}
	return nil
}

// compare runs all steps of a scenario with all balancers, and returns the number of balancers.
// When ctx ends, it finishes the current step.
func compare(ctx context.Context, n *network.Network, o options, s *scenario, dir string) (int, error) {
	b, err := startBackends(n, s, dir)
	if err != nil {
		return 0, err
	}
	var proxies []*proxy
	for _, k := range s.kinds {
		if !k.wanted(o.only) {
			continue
		}
		p, err := start(n, s, k, o.caddy, dir, b)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(os.Stderr, "left out: %s (%v)\n", k.name, err)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", k.name, err)
		}
		proxies = append(proxies, p)
	}
	if len(proxies) == 0 {
		return 0, nil
	}
	r := make(results)
	defer func() { s.print(os.Stdout, s, r) }()
	for round := range s.rounds {
		for i, l := range s.loads {
			for turn := range proxies {
				if ctx.Err() != nil {
					return len(proxies), errors.New("interrupted")
				}
				p := proxies[(round+i+turn)%len(proxies)]
				fmt.Fprintf(os.Stderr, "%s, %d/%d: %v, %s\n", s.name, round+1, s.rounds, l, p.name)
				f, err := quietMeasure(o, s, b, p, l, uint64(round+1))
				if err != nil {
					return len(proxies), err
				}
				at := step{l.String(), p.name}
				r[at] = append(r[at], f)
			}
		}
	}
	return len(proxies), nil
}
