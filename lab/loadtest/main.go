// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command loadtest measures the cost of many connections and requests in Caddy with Ballast, in a
// plain reverse_proxy of the same Caddy, and with direct connections:
//
//	go run -C lab ./loadtest -connections 10000 -rate 5000
//
// Backends, balancer and load generator share the CPUs of this machine. So it first halves the rate
// until plain Caddy sustains it, compares all three in turn at that rate, and reports if the
// machine cannot show the intended rate. The choice of the rate does not depend on Ballast.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// options are the options of the command line.
type options struct {
	out, caddy  string
	connections int
	rate        float64
	duration    time.Duration
	rounds      int
}

func main() { testbed.RunProgram("loadtest", parse, run) }

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "", "folder for a report; default: none")
	f.StringVar(&o.caddy, "caddy", "", "a Caddy with Ballast; default: build that of this checkout")
	f.IntVar(&o.connections, "connections", 10_000, "connections that are held open")
	f.Float64Var(&o.rate, "rate", 5000, "requests a second on them, at random; halved until plain Caddy sustains them")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "for how long, each time")
	f.IntVar(&o.rounds, "rounds", 3, "rounds of the comparison")
	quick := f.Bool("quick", false, "five seconds, and one round")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		o.duration, o.rounds = 5*time.Second, 1
	}
	if f.NArg() > 0 || o.connections < 1 || o.rate <= 0 || o.duration <= 0 || o.rounds < 1 {
		return o, errors.New("connections, rate, duration and rounds are positive, and there are no arguments but flags")
	}
	return o, nil
}

// reserve is the number of open files of a process besides connections.
const reserve = 500

// backends is the number of backends. They answer at once.
const backends = 2

// run makes all measurements, and reports whether the findings hold.
func run(ctx context.Context, o options) (passed bool, err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "ballast-loadtest-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	// A balancer has a connection to a backend for each request in flight: far fewer than half of the
	// clients, as long as it keeps up.
	wanted := o.connections
	limit := machine.OpenFiles(uint64(o.connections*3/2 + reserve))
	o.connections = min(o.connections, (int(limit)-reserve)*2/3)
	if o.caddy == "" {
		fmt.Fprintln(os.Stderr, "building Caddy with Ballast")
		if o.caddy, err = testbed.BuildCaddy(dir); err != nil {
			return false, err
		}
	}
	e := report.Experiment{
		Name: "load", Title: "Many connections and requests",
		Setup: fmt.Sprintf("%d connections are held open, with %.0f requests a second on them at random, or as many as this machine sustains, over %d backends that answer at once. "+
			"Generator, balancer and backends share %d CPUs.", o.connections, o.rate, backends, runtime.NumCPU()),
	}
	if o.connections < wanted {
		e.Remarks = append(e.Remarks, fmt.Sprintf("%d files may be open (ulimit -n), so there are %d connections and not %d.", limit, o.connections, wanted))
	}
	err = network.Run(ctx, network.Topology{Clients: make([]network.Host, clientHosts), Backends: make([]network.Host, backends), Loopback: true},
		func(ctx context.Context, n *network.Network) error {
			t := &loadTest{options: o, ctx: ctx, network: n, dir: dir}
			if err := t.start(); err != nil {
				return err
			}
			if err := t.run(&e); err != nil {
				return err
			}
			return ctx.Err()
		})
	if err != nil {
		return false, err
	}
	e.Print(os.Stdout)
	if o.out != "" {
		r := &report.Report{
			Title: "Ballast: load test", Date: began.Format("2 January 2006"), Took: time.Since(began).Round(time.Second).String(),
			Machine: machine.Facts(), Experiments: []report.Experiment{e},
		}
		if err := r.Write(o.out); err != nil {
			return false, err
		}
		page, _ := filepath.Abs(filepath.Join(o.out, "index.html"))
		fmt.Printf("\nThe report is %s\n", page)
	}
	return e.Passed(), nil
}
