// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command load sends requests to a website and measures latency from the time when each request was
// due:
//
//	go run -C lab ./load --url http://127.0.0.1:8080/ --rate 500
//
// With --rate or --log it is an open loop, with --clients a closed one. The exit status is 1 if no
// request was answered.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	answered := 0
	if err == nil {
		answered, err = run(ctx, o, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	if answered == 0 {
		os.Exit(1)
	}
}

// options are the options of the command line.
type options struct {
	target   loadgen.Target
	mode     string // open or closed
	rate     float64
	arrivals string
	log      string
	logURIs  bool
	speed    float64
	seed     uint64
	clients  int
	think    time.Duration
	warmUp   time.Duration
	duration time.Duration
	timeout  time.Duration
	json     string
	quiet    bool
}

// headers is a flag that may be repeated.
type headers [][2]string

func (h *headers) String() string { return "" }

func (h *headers) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok || strings.TrimSpace(name) == "" {
		return errors.New(`write "Name: value"`)
	}
	*h = append(*h, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	return nil
}

func parse(args []string) (options, error) {
	var o options
	var body string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&o.target.URL, "url", "", "where to send requests, such as http://127.0.0.1:8080/")
	f.Float64Var(&o.rate, "rate", 0, "open loop: requests a second")
	f.StringVar(&o.arrivals, "arrivals", "poisson", "open loop: poisson, as many independent clients, or fixed intervals")
	f.StringVar(&o.log, "log", "", "open loop: send requests at the times of this JSON access log of Caddy")
	f.BoolVar(&o.logURIs, "log-uris", false, "with --log: send the paths and queries of the log too")
	f.Float64Var(&o.speed, "speed", 1, "with --log: how many times as fast")
	f.Uint64Var(&o.seed, "seed", 1, "of poisson; the same seed gives the same times")
	f.IntVar(&o.clients, "clients", 0, "closed loop: how many clients, which wait for each answer")
	f.DurationVar(&o.think, "think", 0, "closed loop: how long a client waits after an answer")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "for how long requests count; 0 with --log: to its end")
	f.DurationVar(&o.warmUp, "warm-up", 0, "for how long requests are sent first that do not count")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long a client waits from when its request was due")
	f.IntVar(&o.target.Connections, "connections", 10_000, "the most connections; requests beyond wait, and the wait counts")
	f.StringVar(&o.target.Method, "method", "GET", "method of the requests")
	f.Var((*headers)(&o.target.Header), "header", "a field of the requests, \"Name: value\"; may be repeated")
	f.StringVar(&body, "body", "", "body of the requests")
	f.StringVar(&o.target.ServerHeader, "server-header", "X-Backend", "field of responses with the name of the backend")
	f.BoolVar(&o.target.Cookies, "cookies", false, "send the cookies of responses, as one browser does")
	f.BoolVar(&o.target.SkipVerify, "insecure", false, "accept any certificate")
	f.StringVar(&o.json, "json", "", "write the summary as JSON to this file, - for standard output instead of the text")
	f.BoolVar(&o.quiet, "quiet", false, "no progress")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.target.Body = []byte(body)
	o.mode = "open"
	loops := 0
	for _, set := range []bool{o.rate != 0, o.log != "", o.clients != 0} {
		if set {
			loops++
		}
	}
	if o.clients != 0 {
		o.mode = "closed"
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected %q", f.Arg(0))
	case o.target.URL == "":
		return o, errors.New("--url is missing")
	case loops != 1:
		return o, errors.New("write one of --rate, --log and --clients")
	case o.rate < 0 || o.clients < 0 || o.speed <= 0 || o.target.Connections <= 0:
		return o, errors.New("rate, clients, speed and connections are positive")
	case o.duration < 0 || o.duration == 0 && o.log == "" || o.warmUp < 0 || o.timeout <= 0 || o.think < 0:
		return o, errors.New("the duration and the timeout are positive, warm-up and think time not negative")
	case o.arrivals != "poisson" && o.arrivals != "fixed":
		return o, fmt.Errorf("arrivals are poisson or fixed, not %q", o.arrivals)
	case o.logURIs && o.log == "":
		return o, errors.New("--log-uris needs --log")
	}
	return o, nil
}

// run sends the requests, writes the summary, and returns how many were answered.
func run(ctx context.Context, o options, out, progress io.Writer) (answered int, err error) {
	client, err := loadgen.NewClient(o.target)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	c := loadgen.Config{
		Clients: o.clients, Think: o.think, WarmUp: o.warmUp, Length: o.duration, Timeout: o.timeout,
		Do: func(ctx context.Context, _ loadgen.Request) loadgen.Reply { return client.Do(ctx) },
	}
	switch {
	case o.log != "":
		arrivals, err := readLog(o.log)
		if err != nil {
			return 0, err
		}
		c.Schedule = loadgen.Recorded(arrivals, o.speed)
		if o.duration == 0 {
			last := time.Duration(float64(arrivals[len(arrivals)-1].At) / o.speed)
			c.Length = max(last-o.warmUp, 0) + time.Millisecond
		}
		if o.logURIs {
			c.Do = func(ctx context.Context, r loadgen.Request) loadgen.Reply {
				return client.Get(ctx, arrivals[r.Number].URI)
			}
		}
	case o.clients == 0 && o.arrivals == "fixed":
		c.Schedule = loadgen.Fixed(o.rate)
	case o.clients == 0:
		c.Schedule = loadgen.Poisson(o.rate, o.seed)
	}
	if !o.quiet {
		c.Progress = func(p loadgen.Progress) {
			r := p.Recent
			fmt.Fprintf(progress, "%3.0f s  answered %d/s  refused %d  timed out %d  failed %d  in flight %d  p50 %.1f ms  p99 %.1f ms\n",
				p.Elapsed.Seconds(), r.Count(loadgen.Answered), r.Count(loadgen.Refused), r.Count(loadgen.TimedOut),
				r.Count(loadgen.Failed), p.InFlight, r.Latency(0.5).Seconds()*1e3, r.Latency(0.99).Seconds()*1e3)
		}
	}
	result := loadgen.Run(ctx, c)
	summary := result.Summarize(o.mode)
	if o.json != "-" {
		summary.Print(out)
	}
	return summary.Answered, writeJSON(o.json, summary, out)
}

func readLog(name string) ([]loadgen.Arrival, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	arrivals, err := loadgen.ReadAccessLog(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return arrivals, nil
}

// writeJSON writes to a file, or to out for "-"; "" is none.
func writeJSON(name string, s loadgen.Summary, out io.Writer) error {
	if name == "" {
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if name == "-" {
		_, err := fmt.Fprintln(out, string(text))
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
