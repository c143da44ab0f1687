// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// calls makes connections one after the other, and counts who serves them; "" is nobody.
func calls(f *front, count int) map[string]int {
	served := make(map[string]int)
	for i := range count {
		c := f.callFrom(fmt.Sprintf("192.0.2.%d:%d", 1+i%200, 2000+i))
		name := c.line()
		if strings.HasPrefix(name, "error") {
			name = ""
		}
		served[name]++
		_ = c.hangUp()
	}
	return served
}

// A group has its share of the connections, those of one key together, and those that match; what fails in one
// with a fallback goes to the main group.
func TestGroups(t *testing.T) {
	group := func(more string) string {
		return `"groups":[{"name":"canary","backends":[{"dial":"new:1","id":"new:1"}],` + more + `}]`
	}
	t.Run("share", func(t *testing.T) {
		n := newNetwork("a:1", "b:1", "new:1")
		virtual(t, n, at(group(`"share":0.25`), "a:1", "b:1"), "", func(t *testing.T, f *front) {
			got := calls(f, 400)
			if math.Abs(float64(got["new:1"]-100)) > 44 || got[""] > 0 { // 5 standard deviations of 8.7
				t.Errorf("got %v, want 100 of 400 in the group", got)
			}
		})
	})
	t.Run("key", func(t *testing.T) {
		n := newNetwork("a:1", "new:1")
		virtual(t, n, at(group(`"share":0.5,"key":"client_ip"`), "a:1"), "", func(t *testing.T, f *front) {
			first, groups := make(map[string]string), make(map[string]bool)
			for i := range 100 {
				client := fmt.Sprintf("192.0.2.%d", 1+i%50)
				c := f.callFrom(client + ":5000")
				got := c.line()
				_ = c.hangUp()
				if was := first[client]; was != "" && was != got {
					t.Errorf("%s went to %s, and before to %s", client, got, was)
				}
				first[client], groups[got] = got, true
			}
			if len(groups) != 2 { // that 50 clients are in one group happens once in 2^49
				t.Errorf("50 clients are all in %v", groups)
			}
		})
	})
	t.Run("match", func(t *testing.T) {
		n := newNetwork("a:1", "new:1")
		virtual(t, n, at(group(`"share":0,"when":[{"client_ip":{"ranges":["192.0.2.0/25"]}}]`), "a:1"), "", func(t *testing.T, f *front) {
			for client, want := range map[string]string{"192.0.2.7:5000": "new:1", "192.0.2.200:5000": "a:1"} {
				c := f.callFrom(client)
				if got := c.line(); got != want {
					t.Errorf("%s went to %s, want %s", client, got, want)
				}
				_ = c.hangUp()
			}
		})
	})
	t.Run("fallback", func(t *testing.T) {
		n := newNetwork("a:1")
		virtual(t, n, at(group(`"share":1,"fallback":true`)+`,"outliers":{"off":true}`, "a:1"), "", func(t *testing.T, f *front) {
			if got := calls(f, 20); got["a:1"] != 20 || n.count("new:1") != 20 {
				t.Errorf("got %v after %d tries of the group", got, n.count("new:1"))
			}
		})
	})
	t.Run("no fallback", func(t *testing.T) {
		n := newNetwork("a:1")
		virtual(t, n, at(group(`"share":1`)+`,"outliers":{"off":true}`, "a:1"), "", func(t *testing.T, f *front) {
			if got := calls(f, 20); got[""] != 20 || n.count("a:1") != 0 {
				t.Errorf("got %v, want none, and %d went to the main group", got, n.count("a:1"))
			}
		})
	})
	lbtest.NoLeaks(t)
}

// retry_budget bounds the tries beyond the first of each connection.
func TestRetryBudget(t *testing.T) {
	n := newNetwork() // all refuse
	virtual(t, n, at(`"outliers":{"off":true},"retry_budget":{"ratio":0.1,"min":0}`, "a:1", "b:1"), "", func(t *testing.T, f *front) {
		refused := 0
		for range 100 {
			c := f.call()
			if <-c.ended; strings.Contains(c.err.Error(), "connection refused; no further try: pool db: retry_budget") {
				refused++
			}
		}
		tries := n.counts()
		if all := tries["a:1"] + tries["b:1"]; all < 100+9 || all > 100+10 { // a tenth of those so far
			t.Errorf("%v tries for 100 connections, want 110", tries)
		}
		if got := pool.Current("db").Totals().Refused[pool.ReasonBudget]; got != int64(refused) || refused < 90 {
			t.Errorf("%d connections were refused by the budget, %d are counted", refused, got)
		}
	})
}

// Connections go to the first tier that can serve, and to the next with what it cannot.
func TestTiers(t *testing.T) {
	n := newNetwork("a:1", "b:1", "spare:1")
	config := `{"spill":1,"backends":[{"dial":"a:1","id":"a:1"},{"dial":"b:1","id":"b:1"},{"dial":"spare:1","id":"spare:1","tier":1}],` + checked + `}`
	virtual(t, n, config, "", func(t *testing.T, f *front) {
		expect := func(when string, spare, slack int) {
			t.Helper()
			time.Sleep(2500 * time.Millisecond)
			got := calls(f, 200)
			if d := got["spare:1"] - spare; d < -slack || d > slack || got[""] > 0 {
				t.Errorf("%s: got %v, want %d on the spare", when, got, spare)
			}
		}
		expect("all are up", 0, 0)
		setRole(t, "a:1", false)
		expect("half of the tier is down", 100, 36) // 5 standard deviations of 7.1
		setRole(t, "b:1", false)
		expect("the tier is down", 200, 0)
		setRole(t, "a:1", true)
		setRole(t, "b:1", true)
		expect("all are up again", 0, 0)
	})
}

// A backend that was down gets few connections at first, as it answers.
func TestSlowStart(t *testing.T) {
	n := newNetwork("a:1", "b:1")
	virtual(t, n, at(`"slow_start":{"window":"60s","min_ratio":0.1},`+checked, "a:1", "b:1"), `"selection_policy":{"policy":"wrr"}`, func(t *testing.T, f *front) {
		setRole(t, "b:1", false)
		time.Sleep(2500 * time.Millisecond)
		setRole(t, "b:1", true)
		share := func() float64 {
			got := calls(f, 110)
			return float64(got["b:1"]) / 110
		}
		time.Sleep(1500 * time.Millisecond)
		first := share()
		for range 30 { // it must answer all the while
			time.Sleep(time.Second)
			calls(f, 4)
		}
		middle := share()
		for range 40 {
			time.Sleep(time.Second)
			calls(f, 4)
		}
		last := share()
		// Of a weight of 0.1 to 0.15, about 0.55, and 1, beside one of 1; wrr is exact to within a connection for each
		// step of the ramp.
		if first < 0.05 || first > 0.2 || middle < 0.28 || middle > 0.45 || math.Abs(last-0.5) > 0.02 {
			t.Errorf("the shares are %.2f, %.2f and %.2f", first, middle, last)
		}
	})
}

// Errors and outcomes of connections to a group count for its rollout: refused ones are errors, and others none.
func TestOutcomesOfAGroup(t *testing.T) {
	n := newNetwork("a:1", "new:1")
	config := at(`"groups":[{"name":"canary","share":1,"fallback":true,"backends":[{"dial":"new:1","id":"new:1"}]}],"outliers":{"off":true}`, "a:1")
	virtual(t, n, config, "", func(t *testing.T, f *front) {
		calls(f, 10)
		n.serve("new:1", nil)
		calls(f, 5)
		if got := f.Metric(t, "caddy_ballast_pool_group_requests_total", "group", "canary"); got != 15 {
			t.Errorf("the group has %v attempts, want 15", got)
		}
		if got := f.Metric(t, "caddy_ballast_pool_group_errors_total", "group", "canary"); got != 5 {
			t.Errorf("the group has %v errors, want 5", got)
		}
		if fails := f.backend(t, "new:1").Totals().Failures[outlier.Refused]; fails != 5 {
			t.Errorf("%d refused", fails)
		}
	})
}
