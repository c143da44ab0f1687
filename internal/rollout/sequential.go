// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import "math"

// The bounds of this file are confidence sequences: they hold at all times together with the given probability.
// So a test may look at them after each request, and stop at any time, without more errors (Robbins 1970; Howard,
// Ramdas, McAuliffe, Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
// Statistics 49). They come from the mixture sequential probability ratio test: under the true probability p of k
// successes among n attempts, the likelihood ratio of a mixture of alternatives to p is a martingale with mean 1.
// The probability that it ever exceeds 1/alpha is at most alpha (Ville's inequality). Johari, Koomen, Pekelis,
// Walsh 2022, "Always Valid Inference", Operations Research 70, use it for A/B tests.

// mixture is a Beta distribution of the alternatives. Its choice affects only how soon the test decides.
type mixture struct{ a, b float64 }

// rareErrors expects errors to be rare.
var rareErrors = mixture{1, 9}

// around returns a mixture with mean p.
func around(p float64) mixture { return mixture{1, (1 - p) / p} }

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// xLogY returns x log y, and 0 for an x of 0.
func xLogY(x, y float64) float64 {
	if x == 0 {
		return 0
	}
	return x * math.Log(y)
}

// marginal returns the logarithm of the mixture's likelihood of k successes among n.
func (m mixture) marginal(k, n float64) float64 {
	return logBeta(m.a+k, m.b+n-k) - logBeta(m.a, m.b)
}

// logRatio returns the logarithm of the likelihood ratio of the mixture to p.
func (m mixture) logRatio(k, n, p float64) float64 {
	return m.marginal(k, n) - xLogY(k, p) - xLogY(n-k, 1-p)
}

// bisections is how often an interval is halved, to less than 1e-12 of its length.
const bisections = 40

// lower returns the lower bound of the probability of success, after k successes among n.
func (m mixture) lower(k, n, alpha float64) float64 {
	if k <= 0 {
		return 0
	}
	return m.bound(k, n, alpha, 0)
}

// upper returns the upper bound of the probability of success, after k successes among n.
func (m mixture) upper(k, n, alpha float64) float64 {
	if k >= n {
		return 1
	}
	return m.bound(k, n, alpha, 1)
}

// bound finds the bound between k/n, which is within it, and an impossible probability, 0 or 1, by bisection.
func (m mixture) bound(k, n, alpha, impossible float64) float64 {
	at, need := m.marginal(k, n), math.Log(1/alpha)
	out, in := impossible, k/n
	for range bisections {
		if mid := (out + in) / 2; at-xLogY(k, mid)-xLogY(n-k, 1-mid) >= need {
			out = mid
		} else {
			in = mid
		}
	}
	return out
}

// above returns the smallest number of successes among n that shows a probability above p; n+1 if no number does.
func (m mixture) above(n uint64, p, alpha float64) uint64 {
	need := math.Log(1 / alpha)
	low, high := uint64(math.Ceil(float64(n)*p)), n+1
	for low < high {
		if mid := (low + high) / 2; m.logRatio(float64(mid), float64(n), p) >= need {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// below returns the largest number of successes among n that shows a probability below p; ok is false if no
// number does.
func (m mixture) below(n uint64, p, alpha float64) (k uint64, ok bool) {
	need := math.Log(1 / alpha)
	low, high := uint64(0), uint64(float64(n)*p)+1 // the first that does not show it
	for low < high {
		if mid := (low + high) / 2; m.logRatio(float64(mid), float64(n), p) >= need && float64(mid) < float64(n)*p {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1, low > 0
}
