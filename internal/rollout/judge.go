// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// falseAborts is the largest probability with which a rollout is aborted although its group is no worse than the
// rules allow.
const falseAborts = 0.01

// AbortRules define when a group counts as worse than the main group. Read-only.
type AbortRules struct {
	// Errors is by how much the share of errors may exceed that of the main group, from 0 to 1.
	Errors float64
	// Quantile is the quantile of the times to the response header that is compared, from 0 to 1; 0 for
	// none. Factor is how many times that of the main group it may be, above 1.
	Quantile, Factor float64
	// After is the number of attempts on the group in a step below which the test does not decide.
	After uint64
}

// groupPart is the part of the risk that the bound of the group gets. The group has fewer attempts than the main
// group, so its bound is the wider one.
const groupPart = 0.8

// judge returns why the group is worse than the rules allow; "" while that is not certain. It may be called any
// number of times: the probability that it ever errs is at most alpha. It compares
//
//   - the lower bound of the group's share of errors with the upper bound of the main group's;
//   - the lower bound of the group's quantile q with the upper bound of the main group's. The lower bound is the
//     latest time that significantly more than 1-q of the attempts reach; the upper bound is the earliest time
//     that significantly fewer reach. The bounds hold for all times at once, since fewer attempts reach a later
//     time (Howard, Ramdas 2022, "Sequential estimation of quantiles with applications to A/B testing and
//     best-arm identification", Bernoulli 28).
func (r *AbortRules) judge(group, main *Total, alpha float64) string {
	if group.Attempts < r.After || group.Attempts == 0 || main.Attempts == 0 {
		return ""
	}
	if r.Quantile > 0 {
		alpha /= 2
		if why := r.judgeTimes(group, main, alpha); why != "" {
			return why
		}
	}
	n, m := float64(group.Attempts), float64(main.Attempts)
	bad, mainBad := float64(group.Errors), float64(main.Errors)
	if bad/n <= mainBad/m+r.Errors { // the usual case, in which the bounds need not be computed
		return ""
	}
	least, most := rareErrors.lower(bad, n, alpha*groupPart), rareErrors.upper(mainBad, m, alpha*(1-groupPart))
	if least <= most+r.Errors {
		return ""
	}
	return fmt.Sprintf("errors: %s of %d requests, certainly at least %s; in the main group %s of %d, certainly at most %s; allowed are %s more",
		percent(bad/n), group.Attempts, percent(least), percent(mainBad/m), main.Attempts, percent(most), percent(r.Errors))
}

// judgeTimes is the part of judge that compares the quantiles.
func (r *AbortRules) judgeTimes(group, main *Total, alpha float64) string {
	p, n, m := 1-r.Quantile, group.observed(), main.observed()
	mix := around(p)
	enough := mix.above(n, p, alpha*groupPart)
	few, ok := mix.below(m, p, alpha*(1-groupPart))
	if enough > n || !ok {
		return ""
	}
	least, most := time.Duration(0), time.Duration(0)
	for class, reach := timeClasses-2, group.times[timeClasses-1]; class >= 0; class-- {
		if reach >= enough {
			least = endOf(class)
			break
		}
		reach += group.times[class]
	}
	for class, reach := timeClasses-2, main.times[timeClasses-1]; class >= 0 && reach <= few; class-- {
		most = endOf(class)
		reach += main.times[class]
	}
	if most == 0 || float64(least) <= r.Factor*float64(most) {
		return ""
	}
	return fmt.Sprintf("latency: p%s is certainly at least %v over %d requests; in the main group certainly at most %v over %d; allowed is a factor of %s",
		number(100*r.Quantile), rounded(least), n, rounded(most), m, number(r.Factor))
}

// alphaOf returns the risk of epoch n of a test, from 1. The risks of all epochs add up to falseAborts.
func alphaOf(n int) float64 { return falseAborts / float64(n) / float64(n+1) }

func percent(share float64) string { return number(math.Round(share*1e4)/100) + " %" }

func number(x float64) string { return strconv.FormatFloat(math.Round(x*1e4)/1e4, 'f', -1, 64) }

func rounded(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
