// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command load sends requests to a URL at a fixed rate, whether or not earlier ones
// were answered, and prints each second how those that ended in it were answered. With
// -burst it sends that many at once instead.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	rate := flag.Int("rate", 80, "requests a second")
	length := flag.Duration("for", 0, "how long to send; 0 until it is interrupted")
	burst := flag.Int("burst", 0, "send so many requests at once, and no more")
	flag.Parse()
	if flag.NArg() != 1 || *rate < 1 || *rate > 10_000 || *burst < 0 || *burst > 10_000 {
		fmt.Fprintln(os.Stderr, "usage: load [-rate <1 to 10000 a second>] [-for <duration>] <URL>\n       load -burst <1 to 10000> <URL>")
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *length > 0 {
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	s := &sender{url: flag.Arg(0), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	if *burst > 0 {
		s.burst(ctx, *burst)
		return
	}
	s.send(ctx, *rate)
}

// sender sends requests and counts the answers. Safe for concurrent use.
type sender struct {
	url    string
	client *http.Client
	counts counts
}

// burst sends n requests at once, and waits for the answers.
func (s *sender) burst(ctx context.Context, n int) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { s.one(ctx) })
	}
	all.Wait()
	fmt.Println(s.counts.next())
}

// send sends until ctx ends. It then abandons the requests that have no answer yet.
func (s *sender) send(ctx context.Context, rate int) {
	tick, report := time.NewTicker(time.Second/time.Duration(rate)), time.NewTicker(time.Second)
	defer tick.Stop()
	defer report.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-report.C:
			fmt.Println(s.counts.next())
		case <-tick.C:
			for due := int(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
				go s.one(ctx)
			}
		}
	}
}

// one sends a request, and counts its answer.
func (s *sender) one(ctx context.Context) {
	start := time.Now()
	answer := s.get(ctx)
	s.counts.add(answer, time.Since(start))
}

// get returns the status of the answer, or "failed".
func (s *sender) get(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return "failed"
	}
	res, err := s.client.Do(req)
	if err != nil {
		return "failed"
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return "failed"
	}
	return fmt.Sprint(res.StatusCode)
}

// counts counts answers by status. Safe for concurrent use.
type counts struct {
	mu   sync.Mutex
	took map[string][]time.Duration
}

func (t *counts) add(answer string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.took == nil {
		t.took = make(map[string][]time.Duration)
	}
	t.took[answer] = append(t.took[answer], took)
}

// next returns a line about the answers since the last one: for each status how many,
// and the mean time that they took.
func (t *counts) next() string {
	t.mu.Lock()
	took := t.took
	t.took = nil
	t.mu.Unlock()
	if len(took) == 0 {
		return "no answers"
	}
	var parts []string
	for _, answer := range slices.Sorted(maps.Keys(took)) {
		var sum time.Duration
		for _, d := range took[answer] {
			sum += d
		}
		n := len(took[answer])
		parts = append(parts, fmt.Sprintf("%s: %d, after %.2f s", answer, n, sum.Seconds()/float64(n)))
	}
	return strings.Join(parts, "   ")
}
