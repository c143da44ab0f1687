// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scrape returns the series whose names begin so.
func scrape(t *testing.T, s *site, prefix string) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	for _, m := range s.Samples(t, prefix) {
		all[strings.TrimPrefix(m.Name, prefix)+" "+strings.Join(m.LabelValues, " ")] = m.Value
	}
	return all
}

func expectSeries(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
}

// What is counted goes on over a reload, and counts once.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		base := setup{n: 2, policy: `,"header":"X-Client","ttl":"100s"`}
		s := base.load(t, w)
		homes := make(map[string]float64) // as many, or nearly: a new view begins another round
		for n := range 10 {
			c := newClient()
			c.header.Set("X-Client", fmt.Sprint(n))
			c.get(s)
			homes[c.get(s).backend]++
		}
		s2 := base.load(t, w)
		for _, s := range []*site{s, s2} {
			expectSeries(t, scrape(t, s, "caddy_ballast_session_"), map[string]float64{
				"requests_total web new": 10, "requests_total web kept": 10, "requests_total web moved": 0, "requests_total web spilled": 0,
				"store_entries web": 10, "store_lookups_total web hit": 10, "store_lookups_total web miss": 10,
				"store_removed_total web expired": 0, "store_removed_total web evicted": 0,
			})
		}
		s.Close()
		time.Sleep(20 * time.Second)
		scrape(t, s2, "") // which ends the window, beside
		synctest.Wait()
		expectSeries(t, scrape(t, s2, "caddy_ballast_backend_sessions"), map[string]float64{" id-a web": homes["a"], " id-b web": homes["b"]})
		time.Sleep(200 * time.Second)
		for n := range 400 { // each sweeps its part of the table, of 64
			c := newClient()
			c.header.Set("X-Client", fmt.Sprint("newcomer ", n))
			c.get(s2)
		}
		got := scrape(t, s2, "caddy_ballast_session_store_")
		if n := got["removed_total web expired"]; n < 5 || got["entries web"] != 410-n {
			t.Errorf("after ten have expired: %v", got)
		}
	})
}

// Lists count together, and are no trouble to each other.
func TestMetricsOfLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := setup{n: 2, policy: `,"client_ip":true`, list: true}
		one := base.load(t, newWorld(t))
		base.n = 3
		two := base.load(t, newWorld(t))
		newClient().get(one)
		newClient().get(two)
		expectSeries(t, scrape(t, two, "caddy_ballast_session_"), map[string]float64{"requests_total  new": 2, "store_entries ": 2})
	})
}
