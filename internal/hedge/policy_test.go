// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

// member is a backend with n answers after each of the given times.
type member struct {
	latency.Histogram
	delay time.Duration
}

func newMember(n int, times ...time.Duration) *member {
	m := &member{delay: -1}
	m.Init()
	for _, d := range times {
		for range n {
			m.Observe(time.Second, d)
		}
	}
	return m
}

func (m *member) AddWaits(now time.Duration, d *latency.Distribution) { d.Add(now, &m.Histogram) }
func (m *member) SetHedgeDelay(d time.Duration)                       { m.delay = d }

// near reports whether a quantile is right within 12.5 %.
func near(got, want time.Duration) bool { return got >= want && got <= want*9/8 }

func TestUpdateDelays(t *testing.T) {
	for name, tt := range map[string]struct {
		policy  HedgePolicy
		members []*member
		want    []time.Duration
	}{
		"of the others":                  {HedgePolicy{Quantile: 0.9, Max: 0.1}, []*member{newMember(100, 10*ms), newMember(100, 20*ms)}, []time.Duration{20 * ms, 10 * ms}},
		"without a slow backend's own":   {HedgePolicy{Quantile: 0.9, Max: 0.1}, []*member{newMember(100, 10*ms), newMember(100, 10*ms), newMember(900, time.Second)}, []time.Duration{time.Second, time.Second, 10 * ms}},
		"the least":                      {HedgePolicy{Quantile: 0.9, Max: 0.1, Min: 50 * ms}, []*member{newMember(100, 10*ms), newMember(100, 20*ms)}, []time.Duration{50 * ms, 50 * ms}},
		"too few":                        {HedgePolicy{Quantile: 0.9, Max: 0.1}, []*member{newMember(9, 10*ms), newMember(10, 20*ms)}, []time.Duration{20 * ms, 0}},
		"alone":                          {HedgePolicy{Quantile: 0.9, Max: 0.1}, []*member{newMember(1000, 10*ms)}, []time.Duration{0}},
		"none":                           {HedgePolicy{Quantile: 0.9, Max: 0.1}, nil, nil},
		"more late than the share":       {HedgePolicy{Quantile: 0.5, Max: 0.1}, []*member{newMember(0), newMember(10, 1*ms, 2*ms, 3*ms, 4*ms, 5*ms, 6*ms, 7*ms, 8*ms, 9*ms, 10*ms)}, []time.Duration{9 * ms, 0}},
		"a share that is more than that": {HedgePolicy{Quantile: 0.5, Max: 0.9}, []*member{newMember(0), newMember(10, 1*ms, 2*ms, 3*ms, 4*ms, 5*ms, 6*ms, 7*ms, 8*ms, 9*ms, 10*ms)}, []time.Duration{5 * ms, 0}},
	} {
		UpdateDelays(&tt.policy, 2*time.Second, tt.members)
		for i, m := range tt.members {
			if got := m.delay; !near(got, tt.want[i]) {
				t.Errorf("%s: the delay of member %d is %v, want %v", name, i, got, tt.want[i])
			}
		}
	}
}

func TestMatches(t *testing.T) {
	var safe HedgePolicy
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": false, "DELETE": false, "POST": false, "": false} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Method = method
		if got := safe.Matches(req); got != want {
			t.Errorf("%q: %v", method, got)
		}
		posts := HedgePolicy{Match: func(req *http.Request) bool { return req.Method == "POST" }}
		if got := posts.Matches(req); got != (method == "POST") {
			t.Errorf("%q by a matcher: %v", method, got)
		}
	}
}
