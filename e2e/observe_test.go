// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// logs collects Caddy's log, one JSON object a line.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count returns the number of lines with a message and all the given fields.
func (l *logs) count(msg string, fields map[string]string) (n int) {
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, msg) {
			continue
		}
		entry := make(map[string]any)
		if json.Unmarshal([]byte(line), &entry) != nil || entry["msg"] != msg {
			continue
		}
		n++
		for name, want := range fields {
			if entry[name] != want {
				n--
				break
			}
		}
	}
	return n
}

// caddysRace is a data race of Caddy's own: the body of a request is read while
// HTTP/2 to the backend closes it. A plain reverse_proxy has it as well.
const caddysRace = "reverseproxy.(*bodyNopCloserIfNotRead)"

// faults returns the panics and data races in the log.
func (l *logs) faults() (all []string) {
	text := l.String()
	for _, sign := range []string{"panic:", "panic serving", "panicked"} {
		if _, after, ok := strings.Cut(text, sign); ok {
			all = append(all, fmt.Sprintf("%s%.4000s", sign, after))
		}
	}
	for report := range strings.SplitSeq(text, "==================") {
		if strings.Contains(report, "DATA RACE") && !strings.Contains(report, caddysRace) {
			all = append(all, report)
		}
	}
	return all
}

// tail returns the last lines, but for those about the tests' own questions.
func (l *logs) tail(n int) string {
	var lines []string
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"received request"`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// downs and ups return how often the log says that a backend went down and
// came up.
func (c *caddyProcess) downs(id string) int {
	return c.log.count("backend is down", map[string]string{"backend": id})
}

func (c *caddyProcess) ups(id string) int {
	return c.log.count("backend is up", map[string]string{"backend": id})
}

// metric returns the value of a series of Ballast by backend id, from all pools.
func (c *caddyProcess) metric(name string) map[string]float64 {
	c.t.Helper()
	values := make(map[string]float64)
	for line := range strings.Lines(c.get("/metrics")) {
		labels, ok := strings.CutPrefix(line, "caddy_ballast_backend_"+name+"{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(labels, "} ")
		_, id, _ := strings.Cut(labels, `backend="`)
		id, _, _ = strings.Cut(id, `"`)
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			c.t.Fatalf("metric %s: %v", line, err)
		}
		values[id] += n
	}
	return values
}

// quiet waits until Caddy has no request in flight and no goroutine at work
// for Ballast or for a proxy. Probes run now and then, so it looks repeatedly.
func (c *caddyProcess) quiet() {
	c.t.Helper()
	busy := ""
	defer func() {
		if c.t.Failed() {
			c.t.Log(busy)
		}
	}()
	eventually(c.t, "no request is in flight", func() bool {
		for id, n := range c.metric("requests_in_flight") {
			if n != 0 {
				busy = fmt.Sprintf("backend %s has %v requests in flight", id, n)
				return false
			}
		}
		return true
	})
	eventually(c.t, "no goroutine is left", func() bool {
		for stack := range strings.SplitSeq(c.get("/debug/pprof/goroutine?debug=1"), "\n\n") {
			if strings.Contains(stack, "backendconn.(*Conn).Read") && strings.Contains(stack, "persistConn).readLoop") {
				continue // the transport reads the connections that it keeps
			}
			if strings.Contains(stack, "ballast-lb/caddy-ballast") || strings.Contains(stack, "reverseproxy.(*Handler)") {
				busy = stack
				return false
			}
		}
		busy = ""
		return true
	})
}
