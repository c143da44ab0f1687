// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/peers"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// lab is the common state of the experiments.
type lab struct {
	out, dir, caddy string
	rounds          int
	scale           float64 // factor of all times
	perMilli        int     // iterations that take 1 ms of CPU time
	progress        io.Writer
	notes           []string // on the network, from the last run
}

// seconds returns a time of an experiment, scaled to whole tenths of a second.
func (l *lab) seconds(s float64) time.Duration {
	return time.Duration(s * l.scale * float64(time.Second)).Round(100 * time.Millisecond)
}

// work returns the iterations that take the given milliseconds of CPU time.
func (l *lab) work(millis float64) int { return int(millis * float64(l.perMilli)) }

// linkRate is the link rate of all hosts of the experiments, in bits a second.
const linkRate = 100_000_000

// hosts returns hosts with CPU shares; 0 is no limit.
func hosts(shares ...float64) (all []network.Host) {
	for _, s := range shares {
		all = append(all, network.Host{CPU: s, Rate: linkRate})
	}
	return all
}

// scenario describes a run: a network, a balancer and a load.
type scenario struct {
	clients  int // number of hosts with clients
	backends []network.Host
	behavior testbed.Behavior
	workers  int // workers of each backend; 0 for no bound
	// site returns the directives of the only site of the Caddyfile if there is no peer.
	site func(s *stage) string
	// peer is the balancer, with its own configuration. limit is its configured limit of requests
	// in flight to a backend; 0 for none.
	peer  *peers.Peer
	limit int
	// loopback avoids namespaces, which cost CPU time.
	loopback bool
	load     loadgen.Config
	// target changes how a client, from 0, sends its requests. Optional.
	target func(client int, t *loadgen.Target)
	// prepare changes the backends before the balancer starts. Optional.
	prepare func(s *stage) error
	events  []event
}

// event is something that happens during a run, at a time from the end of the warm-up.
type event struct {
	at time.Duration
	do func(s *stage) error
}

// stage is a scenario that is running.
type stage struct {
	backends []*testbed.Backend
	served   func() map[string]int // answers by backend so far
	victim   *testbed.Backend      // the backend that fails
}

// busiest returns the backend with the most answers so far.
func (s *stage) busiest() *testbed.Backend {
	served, best := s.served(), s.backends[0]
	for _, b := range s.backends {
		if served[b.Name()] > served[best.Name()] {
			best = b
		}
	}
	return best
}

// addresses returns the addresses of the backends for a Caddyfile.
func (s *stage) addresses() (text string) {
	for _, b := range s.backends {
		text += " " + b.Address()
	}
	return text
}

// members returns the backends as members of a pool, with their names, and weights if given.
func (s *stage) members(weights ...int) (text string) {
	for i, b := range s.backends {
		text += fmt.Sprintf("backend %s {\nid %s\n", b.Address(), b.Name())
		if len(weights) > 0 {
			text += fmt.Sprintf("weight %d\n", weights[i])
		}
		text += "}\n"
	}
	return text
}

// trial is the result of a scenario.
type trial struct {
	*loadgen.Result
	samples []loadgen.Sample
	counts  []testbed.Counts
	victim  string
	// cpu is the CPU time of the balancer, including the warm-up.
	cpu time.Duration
	// others is the share of the CPU time of other processes, from 0 to 1.
	others float64
}

// play runs a scenario.
func (l *lab) play(ctx context.Context, sc scenario) (*trial, error) {
	var t *trial
	topology := network.Topology{Clients: make([]network.Host, sc.clients), Backends: sc.backends, Balancer: network.Host{}, Loopback: sc.loopback}
	for i := range topology.Clients {
		topology.Clients[i].Rate = linkRate
	}
	err := network.Run(ctx, topology, func(ctx context.Context, n *network.Network) error {
		if !sc.loopback { // otherwise the setup of the experiment describes it
			l.notes = n.Notes()
		}
		s := &stage{}
		for _, node := range n.Backends() {
			b, err := testbed.StartBackend(n, node, l.dir, testbed.ServerConfig{Workers: sc.workers, Behavior: sc.behavior})
			if err != nil {
				return err
			}
			s.backends = append(s.backends, b)
		}
		if sc.prepare != nil {
			if err := sc.prepare(s); err != nil {
				return err
			}
		}
		address, err := testbed.Address(n, n.Balancer())
		if err != nil {
			return err
		}
		proxy, err := l.balancer(n.Balancer(), sc, s, address)
		if err != nil {
			return err
		}
		t, err = l.load(ctx, n, sc, s, "http://"+address+"/", proxy)
		return err
	})
	return t, err
}

// balancer starts the balancer of a scenario.
func (l *lab) balancer(node *network.Node, sc scenario, s *stage, address string) (*testbed.Process, error) {
	if sc.peer == nil {
		return testbed.StartCaddy(node, l.caddy, l.dir, testbed.Caddyfile(address, "", sc.site(s)), address)
	}
	site := peers.Site{Address: address, Limit: sc.limit}
	for _, b := range s.backends {
		site.Backends = append(site.Backends, b.Address())
	}
	return sc.peer.Start(node, l.caddy, l.dir, site)
}

// load sends the requests of a scenario, and runs its events.
func (l *lab) load(ctx context.Context, n *network.Network, sc scenario, s *stage, url string, proxy *testbed.Process) (*trial, error) {
	count := max(sc.load.Clients, sc.clients)
	clients := make([]*loadgen.Client, count)
	for i := range clients {
		target := loadgen.Target{URL: url, ServerHeader: "X-Backend", Dial: n.Clients()[i%sc.clients].Dial}
		if sc.load.Clients > 0 {
			target.Connections = 1
		}
		if sc.target != nil {
			sc.target(i, &target)
		}
		c, err := loadgen.NewClient(target)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		clients[i] = c
	}
	t := &trial{}
	pids := []int{proxy.Pid()}
	for _, b := range s.backends {
		pids = append(pids, b.Pid())
	}
	samples := newRecorder()
	s.served = samples.served
	config := sc.load
	config.Each = samples.add
	config.Do = func(ctx context.Context, r loadgen.Request) loadgen.Reply {
		if sc.load.Clients > 0 {
			return clients[r.Client].Do(ctx)
		}
		return clients[r.Number%count].Do(ctx)
	}
	meter := machine.NewMeter(pids...)
	failed := make(chan error, 1)
	over, stop := context.WithCancel(ctx)
	defer stop()
	go func() { failed <- happen(over, sc, s) }()
	before := machine.CPUTime(proxy.Pid())
	t.Result = loadgen.Run(ctx, config)
	t.cpu, t.others = machine.CPUTime(proxy.Pid())-before, meter.Others()
	stop()
	if err := <-failed; err != nil {
		return nil, err
	}
	t.samples = samples.all
	if s.victim != nil {
		t.victim = s.victim.Name()
	}
	for _, b := range s.backends {
		c, _ := b.Counts() // 0 for a backend that is down
		t.counts = append(t.counts, c)
	}
	return t, ctx.Err()
}

// happen runs the events of a scenario, except for those after the end of the load.
func happen(ctx context.Context, sc scenario, s *stage) error {
	began := time.Now()
	for _, e := range sc.events {
		select {
		case <-time.After(time.Until(began.Add(sc.load.WarmUp + e.at))):
		case <-ctx.Done():
			return nil
		}
		if err := e.do(s); err != nil {
			return err
		}
	}
	return nil
}

// chart draws a plot of an experiment.
func (l *lab) chart(e *report.Experiment, name, caption string, c interface{ Save(string) error }) {
	file := e.Name + "-" + name + ".svg"
	if err := c.Save(filepath.Join(l.out, file)); err != nil {
		fmt.Fprintln(os.Stderr, "the plot", file, "cannot be drawn:", err)
		return
	}
	e.Plots = append(e.Plots, report.Plot{File: file, Caption: caption})
}
