// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/history"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// The history has what was asked for, with the rates at which requests came.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := load(t, answering("a:1", "b:1"), two)
		a := newAPI(t, p)
		var all report.History
		a.ask("GET", "/ballast/history", "", 200, &all)
		began := all.Tick
		for range 60 {
			for range 10 {
				p.Get()
			}
			time.Sleep(time.Second)
			var now report.History // also while it is recorded
			a.ask("GET", "/ballast/history", "", 200, &now)
			if pool := now.Pools; len(pool) == 1 && pool[0].From+uint64(len(pool[0].Up)) != now.Tick+1 {
				t.Errorf("%d values from %d, but the latest is %d", len(pool[0].Up), pool[0].From, now.Tick)
			}
		}
		a.ask("GET", "/ballast/history?pool=web&backend=a&backend=b:1&backend=gone", "", 200, &all)
		if all.Step != history.Step.Seconds() || len(all.Pools) != 1 || len(all.Pools[0].Backends) != 2 || all.Tick < began+11 || time.Since(all.At) > history.Step+time.Millisecond {
			t.Fatalf("%+v", all)
		}
		pool, sum := all.Pools[0], 0.0
		last := len(pool.Requests) - 1
		for _, b := range pool.Backends {
			sum += float64(b.Requests[len(b.Requests)-1])
		}
		// 10 come at the beginning of each second: at most 10 more or less in the 5 s of a value.
		if r := float64(pool.Requests[last]); r < 8 || r > 12 || math.Abs(r-sum) > 0.1 || pool.Up[last] != 2 || pool.Errors[last] != 0 || pool.Refused[last] != 0 {
			t.Errorf("%v requests a second, of the backends %v; up %v", r, sum, pool.Up[last])
		}
		a.do("PATCH", backendsPath+"/a", `{"state":"maint"}`)
		a.do("PATCH", backendsPath+"/b:1", `{"state":"maint"}`)
		for range 20 {
			p.Get()
			time.Sleep(time.Second)
		}
		var later report.History
		a.ask("GET", "/ballast/history?after="+strconv.FormatUint(all.Tick, 10), "", 200, &later)
		pool = later.Pools[0]
		last = len(pool.Refused) - 1
		if pool.From != all.Tick+1 || pool.Refused[last] < 0.7 || pool.Requests[last] != 0 || pool.Up[last] != 0 || pool.Backends != nil {
			t.Errorf("in an outage: %+v", pool)
		}
	})
	a := newAPI(t, load(t, answering("a:1", "b:1"), two))
	for query, want := range map[string]string{
		"backend=a": "write pool", "after=x": "number of a value", "pool=a&pool=b": "twice", "back=1": "unknown field",
		"pool=web" + strings.Repeat("&backend=a", 201): "at most 200",
	} {
		if w := a.do("GET", "/ballast/history?"+query, ""); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, %s", query, w.Code, w.Body)
		}
	}
}

// A backend that gets nothing says why, and each state is counted.
func TestWhyNothing(t *testing.T) {
	p := load(t, answering("a:1", "b:1", "c:1", "d:1"), `"backends":[{"dial":"a:1"},{"dial":"b:1","weight":0},{"dial":"c:1","tier":1},{"dial":"d:1","backup":true}]`)
	a := newAPI(t, p)
	var pool report.PoolReport
	a.ask("GET", "/ballast/pools/web", "", 200, &pool)
	for i, want := range []string{"", "its weight is 0", "in tier 1", "a backup"} {
		if why := pool.Backends[i].Why; !strings.Contains(why, want) || (want == "") != (why == "") {
			t.Errorf("%s: %q, want %q", pool.Backends[i].ID, why, want)
		}
	}
	a.do("PATCH", backendsPath+"/a:1", `{"state":"drain"}`)
	pool = report.PoolReport{}
	a.ask("GET", "/ballast/pools/web", "", 200, &pool)
	if pool.Backends[2].Why != "" || pool.States["up"] != 3 || pool.States["drain"] != 1 || len(pool.Policies) != 1 {
		t.Errorf("without tier 0: %q; states %v, policies %v", pool.Backends[2].Why, pool.States, pool.Policies)
	}
	var all report.Pools
	a.ask("GET", "/ballast/pools", "", 200, &all)
	if all.Instance.Host == "" || all.Instance.Caddy == "" || all.Instance.Configured.IsZero() {
		t.Errorf("instance %+v", all.Instance)
	}
}

// What the tiers of the main group take explains nothing of a backend in another group.
func TestWhyOfAGroup(t *testing.T) {
	p := load(t, answering("a:1", "b:1", "c:1"), `"backends":[{"dial":"a:1"}],"groups":[{"name":"canary","share":0.5,"backends":[{"dial":"b:1","tier":1},{"dial":"c:1","tier":2}]}]`)
	var pool report.PoolReport
	newAPI(t, p).ask("GET", "/ballast/pools/web", "", 200, &pool)
	for i, want := range []string{"", "", "it is in tier 2: lower tiers take all requests"} {
		if why := pool.Backends[i].Why; why != want {
			t.Errorf("%s: %q, want %q", pool.Backends[i].ID, why, want)
		}
	}
}
