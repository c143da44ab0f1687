// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// crew is a backend with a number of workers: who finds all of them busy waits
// for one, as long as its client does. It counts how many requests it has at a
// time, also those that wait.
type crew struct {
	*scripted
	workers  chan struct{} // one in it for each that is busy
	busy     atomic.Int64
	peak     atomic.Int64
	answered atomic.Int64
	worked   atomic.Int64 // nanoseconds, for those that were answered
	held     atomic.Pointer[chan struct{}]
}

const (
	// perCrew workers take workTime for a request each: three crews can answer
	// 600 a second.
	perCrew  = 10
	workTime = 50 * time.Millisecond
	// threefold is three times that.
	threefold = 1800
)

// startCrews starts three of them, and returns their addresses for a Caddyfile.
func startCrews(t testing.TB) (all [3]*crew, to string) {
	t.Helper()
	for i := range all {
		c := &crew{scripted: startScripted(t, freeAddress(t), nil), workers: make(chan struct{}, perCrew)}
		c.serves(c.work)
		all[i], to = c, to+" "+c.address
	}
	return all, to
}

func (c *crew) work(w http.ResponseWriter, r *http.Request) {
	defer c.enter()()
	if held := c.held.Load(); held != nil {
		select {
		case <-*held:
			c.name(w, r)
		case <-r.Context().Done():
		}
		return
	}
	select {
	case c.workers <- struct{}{}:
		defer func() { <-c.workers }()
	case <-r.Context().Done():
		return
	}
	began := time.Now()
	<-time.After(workTime) // who works does not see that the client is gone
	c.worked.Add(int64(time.Since(began)))
	c.answered.Add(1)
	c.name(w, r)
}

// enter counts a request until the function that it returns is called. That is
// before the client sees the end of a short answer.
func (c *crew) enter() (leave func()) {
	n := c.busy.Add(1)
	for peak := c.peak.Load(); n > peak && !c.peak.CompareAndSwap(peak, n); peak = c.peak.Load() {
	}
	return func() { c.busy.Add(-1) }
}

// hold has requests not be answered from now on, until release, which answers
// all of them.
func hold(all [3]*crew) (release func()) {
	held := make(chan struct{})
	for _, c := range all {
		c.held.Store(&held)
	}
	return func() {
		for _, c := range all {
			c.held.Store(nil)
		}
		close(held)
	}
}

// total adds up what each has.
func total(all [3]*crew, of func(*crew) *atomic.Int64) (sum int64) {
	for _, c := range all {
		sum += of(c).Load()
	}
	return sum
}

func busy(c *crew) *atomic.Int64     { return &c.busy }
func answered(c *crew) *atomic.Int64 { return &c.answered }
func requests(c *crew) *atomic.Int64 { return &c.requests }
func worked(c *crew) *atomic.Int64   { return &c.worked }

// telling is a site on a port whose responses, of errors too, say what Ballast
// has done with the request.
func telling(port int, directives string) string {
	return fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			header >X-Shed {http.ballast.shed}
			%s
			handle_errors {
				header X-Shed {http.ballast.shed}
				header X-Reason {http.ballast.reason}
				respond "refused"
			}
		}`, port, directives)
}

// toPool is a proxy to a pool that is called web.
func toPool(pool string) string {
	return fmt.Sprintf("reverse_proxy {\ndynamic pool web {\n%s\n}\n}", pool)
}

// outcome is what became of a request, in words: the status and, where the
// response has them, what shed says and the reason. Who answers a 200 must have
// sent its own name.
func outcome(client *http.Client, url string) (string, error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode == http.StatusOK && string(body) != res.Header.Get("X-Backend") {
		return "", fmt.Errorf("%q has sent %q", res.Header.Get("X-Backend"), body)
	}
	after := res.Header.Get("Retry-After")
	if n, err := strconv.Atoi(cmp.Or(after, "1")); err != nil || n < 1 {
		return "", fmt.Errorf("the field Retry-After is %q", after)
	}
	words := []string{strconv.Itoa(res.StatusCode)}
	for _, field := range []string{"X-Shed", "X-Reason"} {
		if word := res.Header.Get(field); word != "" && word[0] != '{' { // a placeholder that is not set
			words = append(words, word)
		}
	}
	if after != "" {
		words = append(words, "later")
	}
	return strings.Join(words, " "), nil
}

// outcomeAfterReload does the same just after a reload: see dropped.
func outcomeAfterReload(client *http.Client, url string) (what string, err error) {
	what, err = outcome(client, url)
	for range 5 {
		if err == nil || !dropped(err) {
			break
		}
		what, err = outcome(client, url)
	}
	return what, err
}

// startOverload sends three times as many requests as three crews can answer; the
// counts of the load are by outcome.
func startOverload(t testing.TB, url string) *load {
	client := newGetter(t, url, soon, 0).client
	return startRequests(t, threefold, func() (string, error) { return outcome(client, url) })
}

// series returns the value of a series on Caddy's metrics endpoint, summed over
// all of its labels. Counters may not be there before there is something to count.
func (c *caddyProcess) series(name string) (sum float64) {
	c.t.Helper()
	found := strings.HasSuffix(name, "_total")
	defer func() {
		if !found {
			c.t.Errorf("there is no series %s", name)
		}
	}()
	for line := range strings.Lines(c.get("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		fields := strings.Fields(rest)
		n, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			c.t.Fatalf("metric %s: %v", line, err)
		}
		sum, found = sum+n, true
	}
	return sum
}

// shedding returns how many requests the shed handlers count as in flight.
func (c *caddyProcess) shedding() float64 {
	c.t.Helper()
	return c.series("caddy_ballast_shed_requests_in_flight")
}
