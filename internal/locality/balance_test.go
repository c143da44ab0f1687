// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package locality

import (
	"math"
	"testing"
	"time"
)

// run adds a second at a time, until the end, and returns the share at home. side says what a side
// does with a share of all requests.
func run(b *Balance, seconds int, side func(share float64, home bool) Sample) float64 {
	for range seconds {
		home := b.Home()
		b.Add(time.Second, side(home, true), side(1-home, false))
	}
	return b.Home()
}

// even is a side of hosts that answer within 50 ms whatever they get of 1,000 requests a second.
func even(hosts, limit int) func(float64, bool) Sample {
	return func(share float64, _ bool) Sample {
		n := int64(1000 * share)
		return Sample{Hosts: hosts, Limit: limit, Begun: n, Answered: n, Spent: time.Duration(n) * 50 * time.Millisecond, Waiting: n / 20, Utilization: -1}
	}
}

func TestAllStaysAtHomeWhileEven(t *testing.T) {
	for _, limit := range []int{0, 60, 1000} {
		b := &Balance{Margin: 0.1}
		if got := run(b, 60, even(3, limit)); got != MaxHome {
			t.Errorf("limit %d: %.3f at home", limit, got)
		}
	}
}

// A home that can take only a part of the requests gets about that, whatever there is to go by.
func TestOverloadedHomeIsRelieved(t *testing.T) {
	const capacity = 0.5 // of all requests, at home
	for name, side := range map[string]func(float64, bool) Sample{
		"latency": func(share float64, home bool) Sample {
			s := even(3, 0)(share, home)
			if home && share > capacity {
				s.Spent *= 20
			}
			return s
		},
		"limits": func(share float64, home bool) Sample {
			s := even(3, 100)(share, home)
			if home && share > capacity {
				s.Spent *= 20
			}
			return s
		},
		"reports": func(share float64, home bool) Sample {
			s := even(3, 0)(share, home)
			if s.Utilization = 0.2; home {
				s.Utilization = min(share/capacity, 1)
			}
			return s
		},
		"nothing is answered": func(share float64, home bool) Sample {
			s := even(3, 0)(share, home)
			if home && share > capacity {
				s.Answered, s.Spent, s.Waiting = 0, 0, 2000
			}
			return s
		},
	} {
		b := &Balance{Margin: 0.1}
		run(b, 30, even(3, 0))
		if got := run(b, 10, side); got > 1.2*capacity {
			t.Errorf("%s: after 10 s, %.3f are still at home", name, got)
		}
		sum := 0.0
		for range 300 {
			sum += run(b, 1, side)
		}
		if mean := sum / 300; mean > 1.1*capacity || mean < 0.3*capacity {
			t.Errorf("%s: %.3f at home on average, which can take %.3f", name, mean, capacity)
		}
		if got := run(b, 180, even(3, 0)); got != MaxHome {
			t.Errorf("%s: %.3f at home when it is even again", name, got)
		}
	}
}

// A report that is no longer valid, or a load of less than a request for each backend, is no
// reason to leave home.
func TestNothingToGoBy(t *testing.T) {
	b := &Balance{Margin: 0.1}
	idle := func(share float64, home bool) Sample {
		if !home {
			return Sample{Hosts: 3, Utilization: -1}
		}
		return Sample{Hosts: 1, Begun: 5, Answered: 5, Spent: time.Second / 10, Utilization: -1}
	}
	if got := run(b, 60, idle); got != MaxHome {
		t.Errorf("%.3f at home", got)
	}
	busy := func(_ float64, home bool) Sample {
		s := even(1, 0)(0.5, home)
		if s.Utilization = 0.1; home {
			s.Utilization = 0.9
		}
		return s
	}
	if got := run(b, 30, busy); got > 0.2 {
		t.Errorf("%.3f at home, which is full", got)
	}
	b.Add(expirationTime, Sample{Hosts: 1}, Sample{Hosts: 1})
	if got := b.Home(); got != MaxHome {
		t.Errorf("%.3f at home after a pause", got)
	}
}

// With reports, the shares are those of Envoy's rule, and within the margin all stay.
func TestSharesAreThoseOfTheRule(t *testing.T) {
	for _, tt := range []struct{ home, abroad, want float64 }{
		{0.5, 0.41, MaxHome}, {0.9, 0.5, 2 * 0.1 / (2*0.1 + 6*0.5)}, {0.4, 0.1, 2 * 0.6 / (2*0.6 + 6*0.9)}, {1, 0.8, probes}, {1.5, 1.5, MaxHome},
	} {
		b := &Balance{Margin: 0.1}
		got := run(b, 200, func(_ float64, home bool) Sample {
			if home {
				return Sample{Hosts: 2, Utilization: tt.home}
			}
			return Sample{Hosts: 6, Utilization: tt.abroad}
		})
		if math.Abs(got-tt.want) > 0.003 {
			t.Errorf("%v of home, %v abroad: %.3f at home, want %.3f", tt.home, tt.abroad, got, tt.want)
		}
	}
}

// station is a side that answers so many requests a second; others wait.
type station struct{ capacity, waiting float64 }

func (s *station) serve(arrivals float64) Sample {
	before := s.waiting
	answered := min(s.waiting+arrivals, s.capacity)
	s.waiting += arrivals - answered
	took := 0.02 + (before+s.waiting)/2/s.capacity
	return Sample{
		Hosts: 3, Begun: int64(arrivals), Answered: int64(answered), Utilization: -1,
		Spent: time.Duration(answered * took * 1e9), Waiting: int64(s.waiting + 0.02*answered),
	}
}

// Where all together can take the requests and home cannot, neither side is overloaded for long: in
// a model of queues, after 10 s home gets less than it can take, and later the queues are short.
func TestQueuesStayShort(t *testing.T) {
	for _, c := range []struct{ rate, home, abroad float64 }{{600, 300, 600}, {500, 300, 300}, {400, 300, 300}, {1000, 300, 900}, {320, 300, 300}} {
		home, abroad := &station{capacity: c.home}, &station{capacity: c.abroad}
		b := &Balance{Margin: 0.1}
		second := func(rate float64) float64 {
			share := b.Home()
			b.Add(time.Second, home.serve(rate*share), abroad.serve(rate*(1-share)))
			return share
		}
		for range 30 {
			second(c.home / 2)
		}
		relieved, longest, away, sum := 0, 0.0, 0.0, 0.0
		for n := range 300 {
			share := second(c.rate)
			if relieved == 0 && share*c.rate <= c.home {
				relieved = n
			}
			if n >= 60 {
				longest, away = max(longest, home.waiting/c.home), max(away, abroad.waiting/c.abroad)
				sum += share / 240
			}
		}
		t.Logf("%v: relieved after %d s, then %.2f at home on average, the longest queues are %.2f and %.2f s", c, relieved, sum, longest, away)
		if relieved > 10 {
			t.Errorf("%v: relieved after %d s", c, relieved)
		}
		if longest > 1 || away > 1 {
			t.Errorf("%v: the longest queues are %.2f and %.2f s", c, longest, away)
		}
		if sum*c.rate < c.home/3 {
			t.Errorf("%v: only %.2f at home on average", c, sum)
		}
	}
}
