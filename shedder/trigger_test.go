// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/shedder/internal/pressure"
)

// Under pressure, here of memory, the limit decreases, whatever the limiter's own limit.
func TestPressureLowersTheLimit(t *testing.T) {
	if u, err := pressure.Subscribe(pressure.Memory); err != nil {
		t.Skipf("this system does not report the memory in use: %v", err)
	} else {
		u.Close()
	}
	bubble(t, func(t *testing.T) {
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":1000},"when":[{"signal":"memory","above":0.0001},{"signal":"cpu","above":0.99}]}`, oneBackend, nil)
		s.next = answer(http.StatusOK)
		release := hold(t, s, 20)
		var last reply
		for range 5 { // 18 of 20 from 250ms on, and 16 from 500ms on
			last = s.do(get("/"))
			time.Sleep(125 * time.Millisecond)
		}
		if last.reason != "pressure" || last.status != http.StatusServiceUnavailable {
			t.Errorf("%+v under pressure", last)
		}
		if n := s.Metric(t, "caddy_ballast_shed_limit"); n != 16 {
			t.Errorf("the limit is %v, want 16", n)
		}
		release()
		for range 40 {
			time.Sleep(250 * time.Millisecond)
			last = s.do(get("/"))
		}
		if last.shed != "admitted" {
			t.Errorf("%+v: one is always admitted", last)
		}
		if n := s.Metric(t, "caddy_ballast_shed_limit"); n != 1 {
			t.Errorf("the limit is %v, want 1", n)
		}
	})
}
