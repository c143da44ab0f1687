// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rivals are the ways to balance, each in a Caddy of its own. All are measured
// against the first; the second is the same and tells what is noise.
var rivals = []struct{ name, proxy string }{
	{"caddy_round_robin", "to BACKENDS\nlb_policy round_robin"},
	{"caddy_round_robin_again", "to BACKENDS\nlb_policy round_robin"},
	{"caddy_random", "to BACKENDS\nlb_policy random"},
	{"wrr", "dynamic pool {\nto BACKENDS\n}\nlb_policy wrr"},
	{"wrr_retry", "dynamic pool {\nto BACKENDS\nretry 1\n}\nlb_policy wrr"},
	{"wrr_hedge", "dynamic pool {\nto BACKENDS\nhedge 99% {\nmin 1s\n}\n}\nlb_policy wrr"},
	{"p2c", "dynamic pool {\nto BACKENDS\n}\nlb_policy p2c"},
	{"peak_ewma", "dynamic pool {\nto BACKENDS\n}\nlb_policy peak_ewma"},
	{"prequal", "dynamic pool {\nto BACKENDS\n}\nlb_policy prequal"},
}

// BenchmarkThroughput compares requests per second through a real Caddy, where the
// client, Caddy and the backends, which are one process, share the processors of this
// machine. Each iteration is a round: a slice of time for each rival, in random order.
// It reports the medians over the rounds of the rates, of their ratios to the first
// rival's, and of the ratios of requests per second of Caddy's own processor time
// (cpu). How a set-up comes to lie in memory makes a difference, so take several with
// -count, of some hundred rounds each: -benchtime 100x -count 5.
func BenchmarkThroughput(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("caddy/", n), func(b *testing.B) { compete(b, n) })
	}
}

const turn = 100 * time.Millisecond

func compete(b *testing.B, n int) {
	port := freePort(b)
	startBackend(b, fmt.Sprintf("0.0.0.0:%d", port))
	var backends []string
	for i := range n { // Linux takes all of 127.0.0.0/8 for its own
		backends = append(backends, fmt.Sprintf("127.0.%d.%d:%d", i/250, i%250+1, port))
	}
	var clients []*racer
	for _, r := range rivals {
		c := &racer{address: freeAddress(b)}
		clients = append(clients, c)
		c.caddy = startCaddy(b, "", fmt.Sprintf("http://%s {\nreverse_proxy {\n%s\n}\n}", c.address,
			strings.ReplaceAll(r.proxy, "BACKENDS", strings.Join(backends, " "))))
		for warm := int64(0); warm < int64(3*n) && !b.Failed(); {
			warm += c.race(b, turn)
		}
		b.Cleanup(c.leave)
	}
	rates, shares := make([][]float64, len(rivals)), make([][]float64, len(rivals))
	for b.Loop() {
		for _, i := range rand.Perm(len(rivals)) {
			c := clients[i]
			start, used := time.Now(), processorTime(b, c.caddy.cmd.Process.Pid)
			n := float64(c.race(b, turn))
			rates[i] = append(rates[i], n/time.Since(start).Seconds())
			shares[i] = append(shares[i], n/(processorTime(b, c.caddy.cmd.Process.Pid)-used).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op") // a round takes what it takes
	for i, r := range rivals {
		b.ReportMetric(medianOf(rates[i], nil), "req/s:"+r.name)
		if i > 0 {
			b.ReportMetric(medianOf(rates[i], rates[0]), "ratio:"+r.name)
			b.ReportMetric(medianOf(shares[i], shares[0]), "cpu-ratio:"+r.name)
		}
	}
}

// medianOf returns the median of the values, or of their ratios to others.
func medianOf(values, to []float64) float64 {
	values = slices.Clone(values)
	for i := range to {
		values[i] /= to[i]
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// processorTime is what the threads of a process have used.
func processorTime(b *testing.B, pid int) (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			b.Fatal(err)
		}
		var ran time.Duration
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			b.Fatal(err)
		}
		sum += ran
	}
	return sum
}

// racer is a client that sends as many requests as it can, on several connections
// that it keeps. It does as little as it can itself.
type racer struct {
	caddy   *caddyProcess
	address string
	conns   [16]net.Conn
	readers [16]*bufio.Reader
}

// race sends requests for a while, and counts the answers.
func (r *racer) race(b *testing.B, d time.Duration) int64 {
	var total atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range r.conns {
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := r.request(i); err != nil {
					b.Error(err)
					return
				}
				total.Add(1)
			}
		})
	}
	wg.Wait()
	return total.Load()
}

func (r *racer) request(i int) (err error) {
	if r.conns[i] == nil {
		if r.conns[i], err = net.Dial("tcp", r.address); err != nil {
			return err
		}
		r.readers[i] = bufio.NewReader(r.conns[i])
	}
	if _, err := fmt.Fprintf(r.conns[i], "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", r.address); err != nil {
		return err
	}
	res, err := http.ReadResponse(r.readers[i], nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s, %v", r.address, res.Status, err)
	}
	return nil
}

func (r *racer) leave() {
	for _, conn := range r.conns {
		if conn != nil {
			conn.Close()
		}
	}
}
