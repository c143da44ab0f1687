// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command experiments runs experiments on load balancing on a test network on this machine, and
// writes a report with plots:
//
//	go run -C lab ./experiments -out report
//	go run -C lab ./experiments -repeat report1,report2,report3
//
// As root the hosts of the network are namespaces, otherwise loopback addresses.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// quickScale is the scale of all times with -quick.
const quickScale = 0.3

// options are the options of the command line.
type options struct {
	out, caddy string
	page       string
	only       []string
	peers      bool
	rounds     int
	scale      float64
	repeat     []string
}

func main() {
	testbed.RunProgram("experiments", parse, func(ctx context.Context, o options) (passed bool, err error) {
		if len(o.repeat) > 0 {
			return repeat(os.Stdout, o.repeat)
		}
		failed, err := run(ctx, o)
		if err == nil && failed > 0 {
			fmt.Fprintf(os.Stderr, "%d experiments fail\n", failed)
		}
		return failed == 0, err
	})
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("experiments", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "report", "folder of the report")
	f.StringVar(&o.caddy, "caddy", "", "a Caddy with Ballast; default: build that of this checkout")
	f.StringVar(&o.page, "page", "", "a Markdown page whose results are replaced with those of this run, such as ../docs/lab.md")
	f.IntVar(&o.rounds, "rounds", 3, "how often each variant runs")
	f.Float64Var(&o.scale, "scale", 1, "factor of all times")
	only := f.String("only", "", "experiments to run, with commas; default: all")
	f.BoolVar(&o.peers, "peers", false, "only the comparisons with other balancers")
	repeat := f.String("repeat", "", "folders of earlier reports, with commas: run nothing, and say whether their figures repeat each other")
	quick := f.Bool("quick", false, fmt.Sprintf("one round, and all times by %g", quickScale))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		o.rounds, o.scale = 1, quickScale
	}
	if *repeat != "" {
		o.repeat = strings.Split(*repeat, ",")
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	var known []string
	for _, x := range experiments() {
		known = append(known, x.name)
	}
	for _, name := range o.only {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("there is no experiment %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	if f.NArg() > 0 || o.rounds < 1 || o.scale <= 0 {
		return o, errors.New("rounds and scale are positive, and there are no arguments but flags")
	}
	return o, nil
}

// scaleNote describes how times differ from those in the descriptions.
func (l *lab) scaleNote() string {
	if l.scale == 1 {
		return "Times are those of the descriptions."
	}
	return fmt.Sprintf("Times are %g of those in the descriptions, except where checks take longer.", l.scale)
}

// run runs the experiments and returns how many failed. The report is written after each.
func run(ctx context.Context, o options) (failed int, err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "ballast-lab-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	l := &lab{out: o.out, dir: dir, caddy: o.caddy, rounds: o.rounds, scale: o.scale, progress: os.Stderr}
	if l.caddy == "" {
		fmt.Fprintln(l.progress, "building Caddy with Ballast")
		if l.caddy, err = testbed.BuildCaddy(dir); err != nil {
			return 0, err
		}
	}
	l.perMilli = testbed.IterationsPer(time.Millisecond)
	r := newReport(l.caddy)
	for _, x := range experiments() {
		if o.only != nil && !slices.Contains(o.only, x.name) || o.peers && !x.comparison {
			continue
		}
		e := l.run(ctx, x)
		e.Print(os.Stdout)
		if !e.Passed() {
			failed++
		}
		r.Experiments = append(r.Experiments, e)
		r.Date = began.Format("2 January 2006")
		r.Took = time.Since(began).Round(time.Second).String()
		r.Notes = append([]string{
			fmt.Sprintf("Each variant runs %d times, and variants take turns.", l.rounds),
			l.scaleNote(),
			fmt.Sprintf("A millisecond of work is %d iterations of a computation, as measured at the start.", l.perMilli),
		}, l.notes...)
		if err := r.Write(o.out); err != nil {
			return failed, err
		}
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
	}
	if o.page != "" {
		if err := r.Update(o.page, o.out); err != nil {
			return failed, err
		}
	}
	page, _ := filepath.Abs(filepath.Join(o.out, "index.html"))
	fmt.Fprintf(os.Stdout, "\nThe report is %s\n", page)
	return failed, nil
}
