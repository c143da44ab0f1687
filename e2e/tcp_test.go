// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tcpCaddy returns a Caddy with Ballast, caddy-l4 and balance, which is built once.
func tcpCaddy(t testing.TB) string {
	t.Helper()
	tcpCaddyOnce.Do(func() {
		binary, err := filepath.Abs(filepath.Join(filepath.Dir(caddyBinary), "caddy-l4"))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"build", "-C", filepath.Join(repository, "l4"), "-o", binary}
		if raceDetector {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "./cmd/caddy")...).CombinedOutput(); err != nil {
			t.Fatalf("building caddy: %v\n%s", err, out)
		}
		tcpCaddyBinary = binary
	})
	if tcpCaddyBinary == "" {
		t.Fatal("the Caddy with caddy-l4 could not be built")
	}
	return tcpCaddyBinary
}

var (
	tcpCaddyOnce   sync.Once
	tcpCaddyBinary string
)

// startTCP runs a Caddy that sends the connections of a port to a pool, until the test ends. options are
// those of the pool and of balance.
func startTCP(t testing.TB, port int, pool, balance string) *caddyProcess {
	t.Helper()
	c := &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir(), binary: tcpCaddy(t)}
	t.Cleanup(c.stop)
	c.start(tcpGlobal(port, pool, balance), "")
	return c
}

func tcpGlobal(port int, pool, balance string) string {
	return fmt.Sprintf("metrics\nballast {\npool app {\n%s\n}\n}\nlayer4 {\n127.0.0.1:%d {\nroute {\nbalance app {\n%s\n}\n}\n}\n}\n", pool, port, balance)
}

// benchmark runs a benchmark tool, and returns what it has printed. It must end well.
func benchmark(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out) + stderr.String()
}

// TestTCPRedis has Redis' own benchmark run clean through balance: small values, pipelines, new
// connections, and values that the kernel moves.
func TestTCPRedis(t *testing.T) {
	redis := startRedis(t)
	tool := program(t, "redis-benchmark")
	port := freePort(t)
	c := startTCP(t, port, "to "+redis+"\nhealth tcp {\nsend \"PING\\r\\n\"\nexpect +PONG\n}\noutliers", "")
	for name, args := range map[string]string{
		"one by one":      "-n 5000 -c 50 -t set,get",
		"pipelines":       "-n 50000 -c 50 -P 16 -t set,get,lpush,lrange_100",
		"new connections": "-n 500 -c 20 -k 0 -t ping_mbulk",
		"large values":    "-n 200 -c 4 -d 1000000 -t set,get",
	} {
		t.Run(name, func(t *testing.T) {
			out := benchmark(t, tool, append(strings.Fields("-h 127.0.0.1 --csv -p "+strconv.Itoa(port)), strings.Fields(args)...)...)
			if strings.Contains(out, "rror") || strings.Count(out, "\n") < 2 {
				t.Errorf("it printed\n%s", out)
			}
		})
	}
	expectClean(t, c, redis)
}

// expectClean looks for connections that are left, and for errors that were counted.
func expectClean(t *testing.T, c *caddyProcess, backend string) {
	t.Helper()
	c.quiet()
	if n := c.metric("errors_total")[backend]; n != 0 {
		t.Errorf("%v errors of the backend are counted", n)
	}
	if n := c.downs(backend); n != 0 {
		t.Errorf("the backend was down %d times", n)
	}
}

// transactions finds how many transactions pgbench has made.
var transactions = regexp.MustCompile(`number of transactions actually processed: (\d+)`)

// TestTCPPostgres does the same with PostgreSQL's benchmark.
func TestTCPPostgres(t *testing.T) {
	tool := postgresProgram(t, "pgbench")
	db := startPostgres(t, "127.0.0.1:"+strconv.Itoa(freePort(t)), "one")
	port := freePort(t)
	c := startTCP(t, port, "to "+db.address+"\nhealth tcp\noutliers", "")
	connect := strings.Fields("-h 127.0.0.1 -U postgres -p " + strconv.Itoa(port))
	benchmark(t, tool, append(connect, "-i", "-q", "-s", "1", "postgres")...)
	for name, args := range map[string]string{
		"transactions":    "-c 8 -j 2 -t 100",
		"prepared":        "-c 8 -j 2 -t 200 -S -M prepared",
		"new connections": "-c 4 -j 2 -t 10 -S -C",
	} {
		t.Run(name, func(t *testing.T) {
			out := benchmark(t, tool, append(append(connect, strings.Fields(args)...), "-n", "postgres")...)
			m := transactions.FindStringSubmatch(out)
			if m == nil || m[1] == "0" || strings.Contains(out, "error") || !strings.Contains(out, "number of failed transactions: 0 ") {
				t.Errorf("it printed\n%s", out)
			}
		})
	}
	expectClean(t, c, db.address)
}
