// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command overload asks load balancers for more and more of what three backends can
// do, and prints what becomes of it:
//
//	go run ./overload -length 5s -rounds 2
//
// The backends have ten workers each, who take 50 ms for a request: together 600 a
// second. Clients come by chance, whether or not others were answered, and leave after
// a second. The proxies take turns, so that what else happens on the machine hits all
// of them. Those that are not installed are left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
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

// options are those of the command line.
type options struct {
	length, warm, wait time.Duration
	rounds             int
	times              []float64
	only               []string
	poisson            bool
	others             float64
	caddy              string
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
	flags.DurationVar(&o.length, "length", 4*time.Second, "how long the requests of a step count")
	flags.DurationVar(&o.warm, "warm", 2*time.Second, "how long requests are sent before that")
	flags.IntVar(&o.rounds, "rounds", 1, "how often each step is made")
	flags.StringVar(&o.caddy, "caddy", "", "a Caddy with Ballast; default: build one")
	flags.Float64Var(&o.others, "others", 0.15, "what part of the machine others may use in a step; else it is made again")
	flags.DurationVar(&o.wait, "wait", 20*time.Second, "how long to wait for others before a step")
	times := flags.String("times", "0.5,0.8,1,1.5,2,3,5,10", "what to ask for, in times of what the backends can do")
	only := flags.String("only", "", "proxies to compare, by their first words; default: all")
	fixed := flags.Bool("fixed", false, "send at even intervals instead of by chance")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for word := range strings.SplitSeq(*times, ",") {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || n <= 0 || n > 100 {
			return o, fmt.Errorf("-times takes numbers above 0, got %q", word)
		}
		o.times = append(o.times, n)
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if o.poisson = !*fixed; o.length <= 0 || o.warm < 0 || o.rounds < 1 {
		return o, errors.New("-length and -rounds must be above 0, and -warm must not be below")
	}
	return o, nil
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
	// Loopback: namespaces would cost CPU time, which everybody shares.
	topology := network.Topology{Backends: make([]network.Host, backendCount), Loopback: true}
	return network.Run(context.Background(), topology, func(ctx context.Context, n *network.Network) error { return compare(ctx, n, o, dir) })
}

// compare takes all steps with all balancers. ctx ends when somebody interrupts it: it waits for the end of a step then.
func compare(ctx context.Context, n *network.Network, o options, dir string) error {
	b, err := startBackends(n, dir)
	if err != nil {
		return err
	}
	var proxies []*proxy
	for _, k := range kinds {
		wanted := func(word string) bool { return strings.HasPrefix(k.name, word) }
		if o.only != nil && !slices.ContainsFunc(o.only, wanted) {
			continue
		}
		p, err := start(n, k, o.caddy, dir, b)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(os.Stderr, "left out: %s (%v)\n", k.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		proxies = append(proxies, p)
	}
	if len(proxies) == 0 {
		return errors.New("there is no proxy to compare")
	}
	t := newTable(o)
	for round := range o.rounds {
		for i, times := range o.times {
			for turn := range proxies {
				if ctx.Err() != nil {
					t.print(os.Stdout)
					return errors.New("interrupted")
				}
				p := proxies[(round+i+turn)%len(proxies)]
				fmt.Fprintf(os.Stderr, "%d/%d: %g times, %s\n", round+1, o.rounds, times, p.name)
				s, err := quietStep(o, b, p, times, uint64(round+1))
				if err != nil {
					return err
				}
				t.add(times, p.name, s)
			}
		}
	}
	t.print(os.Stdout)
	return nil
}

// tries bounds how often a step is made that others spoil.
const tries = 3

// quietStep waits until others use no more of the machine than they may, and makes the
// step again if they do meanwhile. It returns the one with the least of that.
func quietStep(o options, b backends, p *proxy, times float64, seed uint64) (best *figures, err error) {
	for range tries {
		for until := time.Now().Add(o.wait); time.Now().Before(until); {
			m := machine.NewMeter()
			if time.Sleep(time.Second); m.Others() <= o.others {
				break
			}
		}
		f, err := step(o, b, p, times, seed)
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

// step has one proxy be asked for so many times what the backends can do.
func step(o options, b backends, p *proxy, times float64, seed uint64) (*figures, error) {
	if err := b.rest(); err != nil {
		return nil, err
	}
	runtime.GC()
	client, err := loadgen.NewClient(loadgen.Target{URL: "http://" + p.address, Connections: most, Refusals: refusals})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	rate := times * float64(capacity)
	schedule := loadgen.Fixed(rate)
	if o.poisson {
		schedule = loadgen.Poisson(rate, seed)
	}
	before, meter := machine.CPUTime(p.Pid()), machine.NewMeter(append(b.pids(), p.Pid())...)
	r := loadgen.Run(context.Background(), loadgen.Config{Schedule: schedule, WarmUp: o.warm, Length: o.length, Timeout: patience, MaxInFlight: most,
		Do: func(ctx context.Context, _ loadgen.Request) loadgen.Reply { return client.Do(ctx) }})
	f := &figures{Result: r, cpu: machine.CPUTime(p.Pid()) - before, sent: rate * (o.warm + o.length).Seconds(), others: meter.Others()}
	peak, _, err := b.counts()
	f.peak = peak
	return f, err
}
