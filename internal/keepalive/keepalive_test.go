// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

func TestAnnouncedTimeoutIsKeptWithAMargin(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: 0, sec: 750 * ms, 2 * sec: 1500 * ms, 5 * sec: 4 * sec, 75 * sec: 74 * sec, time.Hour: 0,
	} {
		var e Estimator
		e.Announce(sec, timeout)
		if got := e.Limit(2 * sec); got != want {
			t.Errorf("with Keep-Alive: timeout=%v idle connections are used for %v, not %v", timeout, got, want)
		}
	}
}

func TestAnnouncementIsForgottenWithoutResponses(t *testing.T) {
	var e Estimator
	now := sec
	for ; now < time.Hour; now += 10 * sec {
		e.Announce(now, 5*sec)
	}
	if got := e.Limit(now + lifetime - time.Minute - 10*sec); got != 4*sec {
		t.Errorf("forgotten too early: %v", got)
	}
	if got := e.Limit(now + lifetime); got != 0 {
		t.Errorf("not forgotten: %v", got)
	}
}

func TestTimeoutIsLearnedFromTwoCloses(t *testing.T) {
	for _, timeout := range []time.Duration{20 * ms, 300 * ms, 2 * sec, 5 * sec, 60 * sec} {
		var e Estimator
		now := time.Minute
		e.Closed(now, timeout)
		if got := e.Limit(now); got != 0 {
			t.Errorf("%v: one close gives a limit of %v", timeout, got)
		}
		now += sec
		e.Closed(now, timeout+timeout/100)
		if got, want := e.Limit(now), timeout-max(10*ms, min(timeout/4, sec)); got != want {
			t.Errorf("%v: limit is %v, not %v", timeout, got, want)
		}
	}
}

// Closes are noticed up to a tenth late, and a tenth of them has other reasons. The limit never rises
// for long: at 5/4 x 11/10 of the timeout at most, connections get old enough to show it again.
func TestTimeoutIsLearnedDespiteNoise(t *testing.T) {
	for range 200 {
		var e Estimator
		timeout, now := time.Duration(rand.Int64N(int64(10*sec)))+10*ms, time.Minute
		for range 500 {
			now += time.Duration(rand.Int64N(int64(2 * timeout)))
			age := timeout + time.Duration(rand.Int64N(int64(timeout/10)))
			if rand.IntN(10) == 0 {
				age = time.Duration(rand.Int64N(int64(timeout)))
			}
			if limit := e.Limit(now); limit != 0 && age > limit {
				// Connections are closed before they get so old, except those that a
				// rise of the limit lets through.
				continue
			}
			e.Closed(now, age)
		}
		if limit := e.Limit(now); limit == 0 || limit > timeout*11/8 {
			t.Fatalf("with a timeout of %v the limit is %v", timeout, limit)
		}
	}
}

// A backend that stops closes connections of all ages at once, and shows no timeout by that.
func TestStoppedBackendShowsNoTimeout(t *testing.T) {
	var e Estimator
	for i := range 100 {
		e.Closed(time.Minute+time.Duration(i)*10*time.Microsecond, time.Duration(1000-i)*ms)
	}
	if got := e.Limit(time.Minute + sec); got != 0 {
		t.Errorf("limit is %v", got)
	}
}

// Connections that close soon after one another show the timeout as soon as two are apart.
func TestManyConnectionsAtOnceShowTheTimeout(t *testing.T) {
	var e Estimator
	now := time.Minute
	for range 200 {
		now += 10 * ms
		e.Closed(now, 5*sec+ms)
	}
	if got := e.Limit(now); got != 4*sec+ms {
		t.Errorf("limit is %v", got)
	}
}

// What was learned is tried with more after a minute, so that a wrong limit does not last, and
// a right one is confirmed by one more close.
func TestLimitRisesUntilItIsConfirmed(t *testing.T) {
	learn := func() (*Estimator, time.Duration) {
		e, now := new(Estimator), time.Minute
		e.Closed(now, 20*ms)
		e.Closed(now+sec, 20*ms)
		return e, now + sec
	}
	e, now := learn()
	before := e.Limit(now)
	if got := e.Limit(now + step - 1); got != before {
		t.Errorf("limit rose early, to %v", got)
	}
	if got := e.Limit(now + step); got <= before || got > before*3/2 {
		t.Errorf("limit rose from %v to %v", before, got)
	}
	if got := e.Limit(now + 2*time.Hour); got != 0 {
		t.Errorf("a wrong limit is %v after two hours", got)
	}
	e, now = learn()
	for range 1000 { // the backend closes after 20 ms what lives longer
		now += step
		if e.Limit(now) > 20*ms {
			e.Closed(now, 20*ms)
		}
		if got := e.Limit(now); got > 20*ms {
			t.Fatalf("limit is %v", got)
		}
	}
}

// A backend whose machine is busy closes connections late, when requests are on their way already.
// The margin grows while that happens, and shrinks again.
func TestMarginGrowsWhileConnectionsBreak(t *testing.T) {
	var e Estimator
	now := time.Minute
	announce := func() { e.Announce(now, 2*sec) }
	announce()
	e.Suspect(now, 200*ms) // far from the limit: it has another reason
	for _, want := range []time.Duration{1500 * ms, 1000 * ms, 500 * ms, 500 * ms} {
		if got := e.Limit(now); got != want {
			t.Errorf("limit is %v, want %v", got, want)
		}
		e.Suspect(now, e.Limit(now))
	}
	for _, want := range []time.Duration{1000 * ms, 1500 * ms, 1500 * ms} {
		now += step
		announce()
		if got := e.Limit(now); got != want {
			t.Errorf("limit is %v, want %v", got, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	for field, want := range map[string]time.Duration{
		"": 0, "timeout=5": 5 * sec, "Timeout = 5 , max=100": 5 * sec, "max=100,timeout=7": 7 * sec, "timeout=": 0, "timeout=-1": 0, "timeout=1.5": 0,
		"timeout=99999999999999999999": 0, "max=5": 0,
	} {
		if got := Timeout(field); got != want {
			t.Errorf("Keep-Alive: %s is a timeout of %v, want %v", field, got, want)
		}
	}
}
