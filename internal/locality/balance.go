// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package locality

import (
	"math"
	"time"
)

const (
	// averagingTime is the time constant of the averages of utilization.
	averagingTime = 5 * time.Second
	// expirationTime is how long averages are kept without a sample.
	expirationTime = 3 * time.Minute
	// leaveTime and returnTime are the time constants with which the share at home falls and
	// rises. It rises slowly, so that a home that was relieved is not overloaded at once again.
	leaveTime, returnTime = 2 * time.Second, 20 * time.Second
	// probes is the share of the requests that always go to other zones, to measure how busy the
	// backends there are.
	probes = 0.03
	// MaxHome is the greatest share at home while there are backends abroad.
	MaxHome = 1 - probes
)

// Sample is what the backends of one side, home or abroad, did since the last sample.
type Sample struct {
	// Hosts is the number of backends that serve.
	Hosts int
	// Limit is the sum of their limits of requests in flight; 0 if one of them has none.
	Limit int
	// Begun counts the requests that were sent to them, and Answered those that got a response
	// header.
	Begun, Answered int64
	// Spent is the sum of the times to these headers.
	Spent time.Duration
	// Waiting is the number of requests that wait for a header now.
	Waiting int64
	// Utilization is the mean of the utilizations that the backends report. It is negative if none
	// reports.
	Utilization float64
}

// Balance decides which share of the requests of one tier stays at home, in the zone of this instance. It follows Envoy's
// load_aware_locality: all requests while the utilization at home exceeds that abroad by at most Margin, and else in
// proportion to the unused capacity of both sides. Not safe for concurrent use.
type Balance struct {
	// Margin is by how much the utilization at home may exceed that abroad, from 0 to 1.
	Margin float64

	away         float64 // 1 minus the share at home, so that the zero value is all at home
	home, abroad average
	homeBusy     float64
	abroadBusy   float64
}

// average holds the averages of one side. Rates are per second.
type average struct {
	begun, answered, spent, waiting, utilization float64
	reports                                      bool
}

// add adds a sample of the given duration, in seconds, with the given share.
func (a *average) add(s *Sample, seconds, share float64) {
	move := func(v *float64, to float64) { *v += share * (to - *v) }
	move(&a.begun, float64(s.Begun)/seconds)
	move(&a.answered, float64(s.Answered)/seconds)
	move(&a.spent, s.Spent.Seconds()/seconds)
	move(&a.waiting, float64(s.Waiting))
	switch {
	case s.Utilization < 0:
		a.reports, a.utilization = false, 0
	case !a.reports:
		a.reports, a.utilization = true, s.Utilization
	default:
		move(&a.utilization, s.Utilization)
	}
}

// response returns the mean time to a response header, in seconds. Requests that have waited for long count with the time
// that their number implies (Little's law).
func (a *average) response() float64 {
	mean := 0.0
	if a.answered > 0 {
		mean = a.spent / a.answered
	}
	if a.begun > 0 {
		mean = max(mean, a.waiting/a.begun)
	}
	return mean
}

// Home returns the share of the requests that stay at home while both sides serve.
func (b *Balance) Home() float64 { return MaxHome - b.away }

// Utilizations returns the utilizations that were compared last.
func (b *Balance) Utilizations() (home, abroad float64) { return b.homeBusy, b.abroadBusy }

// Add adds the samples of both sides, which took the given time.
func (b *Balance) Add(took time.Duration, home, abroad Sample) {
	if took >= expirationTime {
		*b = Balance{Margin: b.Margin}
		return
	}
	if home.Hosts == 0 || abroad.Hosts == 0 || took <= 0 {
		return
	}
	share := shareOf(took, averagingTime)
	b.home.add(&home, took.Seconds(), share)
	b.abroad.add(&abroad, took.Seconds(), share)
	b.homeBusy, b.abroadBusy = b.utilizations(&home, &abroad)
	target := MaxHome
	if b.homeBusy > b.abroadBusy+b.Margin {
		x, y := float64(home.Hosts)*(1-b.homeBusy), float64(abroad.Hosts)*(1-b.abroadBusy)
		if x+y <= 0 { // both are full
			x, y = float64(home.Hosts), float64(abroad.Hosts)
		}
		target = min(max(x/(x+y), probes), MaxHome) // home is probed, too
	}
	pace := returnTime
	if target < b.Home() {
		pace = leaveTime
	}
	if b.away += shareOf(took, pace) * (MaxHome - target - b.away); b.away < probes/10 {
		b.away = 0
	}
}

// shareOf returns the share of a sample in an average with a time constant.
func shareOf(took, constant time.Duration) float64 {
	return -math.Expm1(-took.Seconds() / constant.Seconds())
}

// utilizations returns the utilizations of both sides, from 0 to 1: those that the backends report, or else estimates from
// the requests in flight.
//
// This instance knows only its own requests, and sends nearly all of them home. So the estimate is not the number in
// flight on a side, but the number that would be in flight if the side got all requests: their rate times the response
// time of the side (Little's law). It is divided by the limits of the side. Without limits, it is divided by the number of
// backends, and taken relative to the sum of both sides.
func (b *Balance) utilizations(home, abroad *Sample) (x, y float64) {
	if b.home.reports && b.abroad.reports {
		return min(b.home.utilization, 1), min(b.abroad.utilization, 1)
	}
	rate := b.home.begun + b.abroad.begun
	x, y = rate*b.home.response(), rate*b.abroad.response()
	answers := b.abroad.answered * 2 * averagingTime.Seconds()
	if answers <= 0 || y <= 0 {
		return 0, 0 // unknown
	}
	// The mean of few answers is uncertain, so home gets the benefit of two standard errors.
	y *= 1 + 2/math.Sqrt(answers)
	if home.Limit > 0 && abroad.Limit > 0 {
		return min(x/float64(home.Limit), 1), min(y/float64(abroad.Limit), 1)
	}
	x, y = x/float64(home.Hosts), y/float64(abroad.Hosts)
	if x < 1 { // less than a request for each backend is no load
		return 0, 0
	}
	return x / (x + y), y / (x + y)
}
