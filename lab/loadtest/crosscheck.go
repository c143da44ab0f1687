// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
	"github.com/ballast-lb/caddy-ballast/lab/report"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// The backend of the comparison with wrk: its capacity does not depend on the load of the machine,
// and the clients saturate it.
const (
	checkClients = 20
	checkWorkers = 10
	checkWait    = 20 * time.Millisecond
)

// seen is the report of a tool.
type seen struct {
	rate     float64 // answers a second
	p50, p99 time.Duration
}

// crossCheck compares the measurements of this load generator with those of wrk, in turn.
func (t *loadTest) crossCheck(e *report.Experiment) error {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		e.Remarks = append(e.Remarks, "There is no wrk here (Debian's package wrk): the load generator is not compared with it.")
		return nil
	}
	for _, b := range t.backends[1:] {
		b.Kill()
	}
	busy, err := testbed.StartBackend(t.network, t.network.Backends()[0], t.dir, testbed.ServerConfig{
		Name: "busy", Workers: checkWorkers, Behavior: testbed.Behavior{Wait: checkWait}})
	if err != nil {
		return err
	}
	const length = 5 * time.Second
	tools := []struct {
		name    string
		measure func() (seen, error)
	}{
		{"wrk", func() (seen, error) { return runWrk(t.ctx, wrk, "http://"+busy.Address()+"/", length) }},
		{"this one", func() (seen, error) { return t.ownClosedLoop("http://"+busy.Address()+"/", length) }},
	}
	results := make(map[string][]seen)
	for range t.rounds {
		for _, tool := range tools {
			fmt.Fprintf(os.Stderr, "comparison of load generators: %s\n", tool.name)
			s, err := tool.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", tool.name, err)
			}
			results[tool.name] = append(results[tool.name], s)
		}
	}
	table := report.Table{
		Caption: fmt.Sprintf("Closed loop of %d clients, without a balancer, to a backend that answers at most %.0f requests a second: median of %d rounds (least to greatest)",
			checkClients, checkWorkers/checkWait.Seconds(), t.rounds),
		Header: []string{"load generator", "answers/s", "p50 ms", "p99 ms"},
	}
	medians := make(map[string]float64)
	for _, tool := range tools {
		rate := report.NewFigure(results[tool.name], func(s seen) float64 { return s.rate })
		p50 := report.NewFigure(results[tool.name], func(s seen) float64 { return s.p50.Seconds() * 1e3 })
		p99 := report.NewFigure(results[tool.name], func(s seen) float64 { return s.p99.Seconds() * 1e3 })
		medians[tool.name] = rate.Median()
		table.Rows = append(table.Rows, []string{tool.name, rate.String(), p50.String(), p99.String()})
	}
	e.Tables = append(e.Tables, table)
	ratio := medians["this one"] / medians["wrk"]
	e.Findings = append(e.Findings, report.Finding{
		Claim: "This load generator and wrk see the same throughput, within 10 %", Seen: fmt.Sprintf("%.3f times", ratio), Pass: ratio > 0.9 && ratio < 1.1})
	return nil
}

func (t *loadTest) ownClosedLoop(url string, length time.Duration) (seen, error) {
	client, err := loadgen.NewClient(loadgen.Target{URL: url, Connections: checkClients})
	if err != nil {
		return seen{}, err
	}
	defer client.Close()
	r := loadgen.Run(t.ctx, loadgen.Config{Clients: checkClients, Length: length, Timeout: 10 * time.Second,
		Do: func(ctx context.Context, _ loadgen.Request) loadgen.Reply { return client.Do(ctx) }})
	return seen{r.Rate(r.Count(loadgen.Answered)), r.ServiceTime(0.5), r.ServiceTime(0.99)}, t.ctx.Err()
}

func runWrk(ctx context.Context, wrk, url string, length time.Duration) (seen, error) {
	out, err := exec.CommandContext(ctx, wrk, "-t1", fmt.Sprintf("-c%d", checkClients), fmt.Sprintf("-d%.0fs", length.Seconds()), "--latency", url).Output()
	if err != nil {
		return seen{}, err
	}
	return parseWrk(string(out))
}

// parseWrk reads the output of wrk 4 with --latency.
func parseWrk(text string) (s seen, err error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 2 {
			continue
		}
		switch f[0] {
		case "50%":
			s.p50, err = time.ParseDuration(f[1])
		case "99%":
			s.p99, err = time.ParseDuration(f[1])
		case "Requests/sec:":
			s.rate, err = strconv.ParseFloat(f[1], 64)
		}
		if err != nil {
			return seen{}, err
		}
	}
	if s.rate == 0 || s.p50 == 0 || s.p99 == 0 {
		return seen{}, fmt.Errorf("its output is not understood: %s", text)
	}
	return s, nil
}
