// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command tcp compares Ballast's balance, the proxy of caddy-l4 and HAProxy in mode tcp: throughput and
// latency with redis-benchmark and pgbench, and the memory of idle connections.
//
//	make tcp POSTGRES=127.0.0.1:5432
//
// With -postgres, the PostgreSQL server must trust the user postgres, and have the tables of pgbench -i.
// Programs that are not installed are left out. All programs share the CPUs of this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

type options struct {
	caddy, postgres     string
	rounds, connections int
}

func main() { testbed.RunProgram("tcp", parse, run) }

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("tcp", flag.ContinueOnError)
	f.StringVar(&o.caddy, "caddy", "", "path of a Caddy with Ballast and balance")
	f.StringVar(&o.postgres, "postgres", "", "address of a PostgreSQL server; default: none")
	f.IntVar(&o.rounds, "rounds", 9, "rounds of the comparison; 0 for none")
	f.IntVar(&o.connections, "connections", 10_000, "idle connections; 0 for none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.caddy == "" || o.rounds < 0 || o.connections < 0 {
		return o, errors.New("-caddy must be a Caddy with balance, numbers must not be negative, and there are no arguments but flags")
	}
	return o, nil
}

const (
	// reserve is the number of open files of a process besides connections.
	reserve = 600
	// maxHAProxy is the number of connections that HAProxy is configured for.
	maxHAProxy = 9700
)

// run makes all measurements.
func run(ctx context.Context, o options) (passed bool, err error) {
	dir, err := os.MkdirTemp("", "ballast-tcp-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	// Each connection has two ends in a balancer, and two in this process.
	limit := int(machine.OpenFiles(uint64(2*max(o.connections, maxHAProxy) + reserve)))
	o.connections = min(o.connections, (limit-reserve)/2)
	err = network.Run(ctx, network.Topology{Backends: make([]network.Host, 1), Loopback: true}, func(ctx context.Context, n *network.Network) error {
		c := &comparison{options: o, network: n, dir: dir}
		if o.rounds > 0 {
			if err := c.compareAll(ctx); err != nil {
				return err
			}
		}
		if o.connections > 0 {
			return c.holdAll()
		}
		return nil
	})
	return err == nil, err
}
