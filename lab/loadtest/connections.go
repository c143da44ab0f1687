// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/network"
)

const (
	// clientHosts is the number of client addresses: an address has about 28,000 ports.
	clientHosts = 4
	// openers is the number of connections that are opened concurrently.
	openers = 50
	// timeout is the timeout of a client. It bounds the duration of an overload.
	timeout = 3 * time.Second
)

// connections are open connections to one address. They are safe for concurrent use.
type connections struct {
	name     string
	clients  []*loadgen.Client
	dials    atomic.Int64
	answered atomic.Int64 // requests while connections were opened
}

// connect opens many connections, from the hosts in turn, with a request on each.
func connect(ctx context.Context, hosts []*network.Node, name, url string, many int) (*connections, error) {
	c := &connections{name: name}
	for i := range many {
		dial := hosts[i%len(hosts)].Dial
		client, err := loadgen.NewClient(loadgen.Target{URL: url, Connections: 1, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.dials.Add(1)
			return dial(ctx, network, address)
		}})
		if err != nil {
			return nil, err
		}
		c.clients = append(c.clients, client)
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range openers {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= many {
					return
				}
				request, cancel := context.WithTimeout(ctx, timeout)
				if c.clients[i].Do(request).Outcome == loadgen.Answered {
					c.answered.Add(1)
				}
				cancel()
			}
		})
	}
	all.Wait()
	return c, ctx.Err()
}

func (c *connections) close() {
	for _, client := range c.clients {
		client.Close()
	}
}

// stayed reports whether each connection was opened only once, and its first request answered.
func (c *connections) stayed() bool {
	return int(c.dials.Load()) == len(c.clients) && int(c.answered.Load()) == len(c.clients)
}

// send sends requests at random times over the connections, in turn.
func (c *connections) send(ctx context.Context, rate float64, warmUp, length time.Duration) *loadgen.Result {
	return loadgen.Run(ctx, loadgen.Config{
		Schedule: loadgen.Poisson(rate, 1), WarmUp: warmUp, Length: length, Timeout: timeout, MaxInFlight: max(2*len(c.clients), 10_000),
		Do: func(ctx context.Context, r loadgen.Request) loadgen.Reply {
			return c.clients[r.Number%len(c.clients)].Do(ctx)
		},
		Progress: func(p loadgen.Progress) {
			fmt.Fprintf(os.Stderr, "%s, %d connections, %.0f/s: %3.0f s, %d answered, p99 %.1f ms\n", c.name, len(c.clients), rate, p.Elapsed.Seconds(),
				p.Recent.Count(loadgen.Answered), p.Recent.Latency(0.99).Seconds()*1e3)
		},
	})
}
