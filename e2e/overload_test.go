// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// The backends of these tests count what they have at a time themselves.

// TestOverloadMaxRequests asks for three times as much as three backends can do
// that take 10 requests each: every one has 10 at a time, not one more, and who
// finds no room is told why.
func TestOverloadMaxRequests(t *testing.T) {
	crews, to := startCrews(t)
	port := freePort(t)
	c := startCaddy(t, "", telling(port, toPool("to"+to+"\nmax_requests 10\nqueue 100 500ms")))
	l := startOverload(t, fmt.Sprintf("http://127.0.0.1:%d/", port))
	<-time.After(4 * time.Second) // how long the load lasts
	l.stop()
	l.mustNotFail()
	counts := l.counts()
	t.Logf("became of them: %v", counts)
	for what := range counts {
		if !slices.Contains([]string{"200", "503 queue_full", "503 queue_timeout"}, what) {
			t.Errorf("%d requests ended as %q", counts[what], what)
		}
	}
	if counts["200"] == 0 || len(counts) == 1 {
		t.Errorf("became of them %v, want some answered and some refused", counts)
	}
	if n := c.series("caddy_ballast_pool_refused_total"); n != float64(l.total-counts["200"]) {
		t.Errorf("%v refused requests are counted, want %d", n, l.total-counts["200"])
	}
	for _, crew := range crews {
		if n := crew.peak.Load(); n != perCrew {
			t.Errorf("%s has had %d requests at a time, want %d", crew.address, n, perCrew)
		}
	}
	if n := total(crews, answered); n != int64(counts["200"]) {
		t.Errorf("backends have answered %d requests, and clients were answered %d", n, counts["200"])
	}
	c.quiet()
}

// TestOverloadShed asks for three times as much as the backends behind an adaptive
// shed can do: some requests are refused, and all others are answered, at least
// half as many as the backends could have answered.
func TestOverloadShed(t *testing.T) {
	crews, to := startCrews(t)
	port := freePort(t)
	c := startCaddy(t, "", telling(port, "shed\n"+toPool("to"+to)))
	began := time.Now()
	l := startOverload(t, fmt.Sprintf("http://127.0.0.1:%d/", port))
	<-time.After(4 * time.Second) // how long the load lasts
	l.stop()
	lasted := time.Since(began)
	l.mustNotFail()
	counts := l.counts()
	t.Logf("became of them: %v", counts)
	refused := counts["503 shed limit later"]
	if got := slices.Sorted(maps.Keys(counts)); !slices.Equal(got, []string{"200 admitted", "503 shed limit later"}) {
		t.Errorf("became of them %v, want some answered and some refused, and nothing else", counts)
	}
	// What they could have done follows from how long it took them, which is longer
	// than workTime on a busy machine, where fewer may have been sent, too.
	each := time.Duration(total(crews, worked) / max(1, total(crews, answered)))
	could := min(3*perCrew*int(lasted/max(1, each)), l.total)
	if got := counts["200 admitted"]; got < could/2 {
		t.Errorf("%d requests of %d were answered, at %v each in %v, want at least half of %d", got, l.total, each, lasted, could)
	}
	if n := c.series("caddy_ballast_shed_refused_total"); n != float64(refused) {
		t.Errorf("%v refused requests are counted, want %d", n, refused)
	}
	if n := c.series("caddy_ballast_shed_admitted_total"); n != float64(counts["200 admitted"]) {
		t.Errorf("%v requests are counted as let in, want %d", n, counts["200 admitted"])
	}
	if n := c.shedding(); n != 0 {
		t.Errorf("%v requests are in flight at the end", n)
	}
	c.quiet()
}
