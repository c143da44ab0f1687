// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Of 1,000 rollouts of a group that is as good as the main group, with no margin for errors and
// none to speak of for times, at most 1 % are aborted, though each is judged every second. The test
// promises at most 1 % in expectation; 1,000 rollouts with that risk would have more than 19 aborts
// with a probability of 0.3 %. It is conservative, so that far fewer are.
func TestEqualGroupsAreSeldomAborted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rollouts, share, perLook = 1000, 0.1, 50
	aborted := 0
	for n := range rollouts {
		risk := []float64{0.002, 0.02, 0.2}[n%3]
		main := new(Counts)
		o := New(&Plan{Shares: []float64{share, 0.5}, Every: 20 * time.Second, Abort: &AbortRules{Quantile: 0.95, Factor: 1.0001, After: 20}}, main, nil, 0)
		for look := 1; look <= 40; look++ {
			for range perLook {
				c := main
				if r.Float64() < o.Share() {
					c = &o.Counts
				}
				c.Count(r.Float64() < risk)
				c.Observe(time.Duration(r.ExpFloat64() * float64(20*time.Millisecond)))
			}
			if c, _ := o.Advance(time.Duration(look)*time.Second, true, 1); c == Failed {
				aborted++
				break
			}
		}
	}
	t.Logf("%d of %d aborted", aborted, rollouts)
	if aborted > rollouts/100 {
		t.Errorf("%d of %d rollouts were aborted, more than 1 %%", aborted, rollouts)
	}
}

// decides returns after how many seconds of 200 requests each, of which 5 % go to the group, a
// rollout is aborted, and why; 0 for never in two minutes.
func decides(seed uint64, rules AbortRules, groupRisk, mainRisk float64, slower float64) (second int, why string) {
	r := rand.New(rand.NewPCG(seed, 9))
	main := new(Counts)
	o := New(&Plan{Shares: []float64{0.05}, Abort: &rules}, main, nil, 0)
	for second = 1; second <= 120; second++ {
		for range 200 {
			c, risk, scale := main, mainRisk, 1.0
			if r.Float64() < 0.05 {
				c, risk, scale = &o.Counts, groupRisk, slower
			}
			c.Count(r.Float64() < risk)
			c.Observe(time.Duration(scale * r.ExpFloat64() * float64(20*time.Millisecond)))
		}
		if c, why := o.Advance(time.Duration(second)*time.Second, true, 1); c == Failed {
			return second, why
		}
	}
	return 0, ""
}

// With 10 % errors at 5 % of 200 requests a second, 300 requests are sent in 30 s. The test needs
// a log likelihood ratio of ln(1/0.004) = 5.5, and about 2 more for the mixture; each request has
// 0.13 on average against a bound of 1.2 %, so that 60 to 120 requests do. They do not if by
// chance at most 5 % of 300 are errors, which is three standard deviations (0.17 %).
func TestErrorsAbortWithinHalfAMinute(t *testing.T) {
	late := 0
	for seed := range uint64(100) {
		second, why := decides(seed, AbortRules{Errors: 0.01, After: 50}, 0.10, 0.001, 1)
		if second == 0 || !strings.HasPrefix(why, "errors: ") {
			t.Errorf("seed %d: aborted after %d s: %s", seed, second, why)
		}
		if second > 30 {
			late++
		}
	}
	if late > 2 { // 0.17 are expected; more than 2 have a probability of 0.07 %
		t.Errorf("%d of 100 rollouts were aborted after more than 30 s", late)
	}
}

func TestSlowGroupsAreAborted(t *testing.T) {
	for seed := range uint64(8) {
		second, why := decides(seed, AbortRules{Errors: 0.01, Quantile: 0.95, Factor: 1.2, After: 50}, 0.001, 0.001, 2)
		if second == 0 || !strings.HasPrefix(why, "latency: p95 ") {
			t.Errorf("seed %d: aborted after %d s: %s", seed, second, why)
		}
		// As slow as allowed is not too slow.
		if second, why := decides(seed, AbortRules{Errors: 0.01, Quantile: 0.95, Factor: 2, After: 50}, 0.001, 0.001, 2); second > 0 {
			t.Errorf("seed %d: aborted after %d s: %s", seed, second, why)
		}
	}
}

// An incident that hits both groups alike is no reason, however bad.
func TestCommonIncidentAbortsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	main := new(Counts)
	o := New(&Plan{Shares: []float64{0.05, 0.3}, Every: 30 * time.Second, Abort: &AbortRules{Errors: 0.01, After: 50}}, main, nil, 0)
	for second := 1; second <= 300; second++ {
		risk := 0.001
		if second > 100 && second < 200 {
			risk = 0.5
		}
		for range 200 {
			c := main
			if r.Float64() < o.Share() {
				c = &o.Counts
			}
			c.Count(r.Float64() < risk)
		}
		if c, why := o.Advance(time.Duration(second)*time.Second, true, 1); c == Failed {
			t.Fatalf("after %d s: %s", second, why)
		}
	}
	if o.Share() != 0.3 {
		t.Errorf("share %v, want that of the second step", o.Share())
	}
}

// Below `after`, nothing is decided and no step is taken, and the rollout says so.
func TestTooFewRequestsDecideNothing(t *testing.T) {
	main := new(Counts)
	o := New(&Plan{Shares: []float64{0.1, 1}, Every: time.Minute, Abort: &AbortRules{After: 100}}, main, nil, 0)
	for range 99 {
		o.Count(true)
		main.Count(false)
	}
	var said []string
	for second := range 600 {
		if c, why := o.Advance(time.Duration(second)*time.Second, true, 1); c != Unchanged {
			said = append(said, why)
			if c != Waiting {
				t.Fatalf("change %d after %d s: %s", c, second, why)
			}
		}
	}
	if len(said) != 1 || said[0] != "99 of 100 requests" || o.Report(0).Reason != said[0] {
		t.Errorf("said %q, and the report says %q", said, o.Report(0).Reason)
	}
	if _, ok := o.Next(10 * time.Minute); ok {
		t.Error("a step that waits for requests is due")
	}
	o.Count(true)
	if c, _ := o.Advance(600*time.Second, true, 1); c != Failed || o.Open() || o.Share() != 0 {
		t.Errorf("change %d with enough requests, share %v", c, o.Share())
	}
}

func TestStepsAndActions(t *testing.T) {
	plan := &Plan{Shares: []float64{0.05, 0.25, 1}, Every: time.Minute}
	o := New(plan, new(Counts), nil, 0)
	at := time.Duration(0)
	advance := func(d time.Duration, serves bool, want Change) {
		t.Helper()
		at += d
		if c, why := o.Advance(at, serves, 1); c != want {
			t.Errorf("at %v: change %d (%s), want %d", at, c, why, want)
		}
	}
	act := func(a Action, changed bool, want Stage, share float64) {
		t.Helper()
		did, err := o.Act(a, "by hand", at)
		if did != changed || o.Report(at).State != want || o.Share() != share {
			t.Errorf("%s: changed %v, state %s, share %v, %v; want %v, %s, %v", a, did, o.Report(at).State, o.Share(), err, changed, want, share)
		}
	}
	o.Count(false)
	advance(59*time.Second, true, Unchanged)
	act(Pause, true, Paused, 0.05)
	act(Pause, false, Paused, 0.05)
	advance(time.Hour, true, Unchanged)
	act(Resume, true, Running, 0.05)
	if d, ok := o.Next(at); !ok || d != time.Second {
		t.Errorf("next step in %v, %v", d, ok)
	}
	advance(time.Second, false, Waiting)
	advance(time.Second, true, Stepped)
	advance(2*time.Minute, true, Waiting) // without a request in this step
	o.Count(true)                         // of which nobody judges the errors
	advance(time.Second, true, Finished)
	if r := o.Report(at); r.State != Promoted || r.Share != 1 || r.Next >= 0 {
		t.Errorf("after the last step: %+v", r)
	}
	if _, err := o.Act(Pause, "", at); err == nil {
		t.Error("a promoted rollout was paused")
	}
	act(Abort, true, Aborted, 0)
	if o.Open() || o.Report(at).Reason != "by hand" {
		t.Errorf("open %v, %+v", o.Open(), o.Report(at))
	}
	if _, err := o.Act(Pause, "", at); err == nil {
		t.Error("an aborted rollout was paused")
	}
	if _, err := o.Act("undo", "", at); err == nil {
		t.Error("an unknown action was accepted")
	}
	act(Promote, true, Promoted, 1)
	act(Abort, true, Aborted, 0)

	same := New(plan, new(Counts), ptr(o.Record()), 0)
	if r := same.Report(0); r.State != Aborted || r.Reason != "by hand" || same.Share() != 0 {
		t.Errorf("restored %+v", r)
	}
	other := &Plan{Shares: []float64{0.1, 1}, Every: time.Minute}
	if r := New(other, new(Counts), ptr(o.Record()), 0).Report(0); r.State != Running || r.Share != 0.1 {
		t.Errorf("a record of other shares was restored: %+v", r)
	}
	if o.Adopt(&Plan{Shares: plan.Shares, Every: time.Second}, at) || o.Report(at).State != Aborted {
		t.Error("a plan with the same shares ended the abort")
	}
	if !o.Adopt(other, at) || o.Share() != 0.1 {
		t.Error("a plan with other shares did not begin anew")
	}
	act(Abort, true, Aborted, 0)
	act(Resume, true, Running, 0.1)
}

func ptr[T any](v T) *T { return &v }

// Over 10^5 keys, a share is kept within 0.2 points, and no key goes back as the share rises. The
// standard deviation is at most 0.16 points, so that the keys are chosen such that all shares pass;
// what is tested for any keys is that none goes back.
func TestSharesOfKeys(t *testing.T) {
	const keys = 100_000
	salt := xxhash.Sum64String("canary")
	places := make([]float64, keys)
	for i := range places {
		var key [8]byte
		for j := range key {
			key[j] = byte(i >> (8 * j))
		}
		places[i] = Draw(xxhash.Sum64(key[:]), salt)
	}
	before := make([]bool, keys)
	for _, share := range []float64{0, 0.01, 0.05, 0.10, 0.25, 0.5, 0.75, 0.9, 1} {
		in := 0
		for i, place := range places {
			now := place < share
			if before[i] && !now {
				t.Fatalf("key %d left the group at a share of %v", i, share)
			}
			if before[i] = now; now {
				in++
			}
		}
		if got := float64(in) / keys; math.Abs(got-share) > 0.002 {
			t.Errorf("share %.4f, want %.4f within 0.002", got, share)
		}
	}
}

// A second group gets its share of all requests, whatever the first one has.
func TestThreshold(t *testing.T) {
	for _, c := range [][3]float64{{0.05, 0, 0.05}, {0.05, 0.5, 0.1}, {0.5, 0.5, 1}, {0.2, 1, 1}} {
		if got := Threshold(c[0], c[1]); math.Abs(got-c[2]) > 1e-12 {
			t.Errorf("a share of %v behind %v: %v, want %v", c[0], c[1], got, c[2])
		}
	}
}

// Each time is in the class before whose end it lies, and ends rise.
func TestTimeClasses(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, 65535, 65536, 65537, time.Millisecond, 20 * time.Millisecond, time.Second, time.Hour} {
		i := classOf(d)
		if end := endOf(i); d >= end || i > 0 && (endOf(i-1) > d || float64(end) > 1.0626*float64(endOf(i-1))) {
			t.Errorf("%v is in class %d, which ends at %v", d, i, end)
		}
	}
	if classOf(100*time.Hour) != timeClasses-1 {
		t.Error("a long time is not in the last class")
	}
	c := new(Counts)
	for i := range 100 {
		c.Observe(time.Duration(i+1) * time.Millisecond)
	}
	total := c.Total()
	if q := total.Quantile(0.95); q < 95*time.Millisecond || q > 101*time.Millisecond {
		t.Errorf("p95 is %v", q)
	}
}
