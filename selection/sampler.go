// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import weakrand "math/rand/v2"

// sampler draws a few backends for a pick to compare: with a rotatingSampler for equal weights,
// else at random by weight. It is safe for concurrent use.
type sampler struct {
	*alias
	n        int // number of samples
	rotating *rotatingSampler
}

func newSampler(weights []float64, n int) sampler {
	n = min(n, len(weights))
	s := sampler{alias: newAlias(weights), n: n}
	if equal(weights) {
		s.rotating = newRotatingSampler(len(weights), n)
	}
	return s
}

// peek implements the peek of a [picker]. The sampler begins at a random position, so that
// explanations show probabilities instead of turns.
func (s *sampler) peek() sampler {
	next := *s
	if s.rotating != nil {
		next.rotating = newRotatingSampler(int(s.rotating.backends), s.n)
	}
	return next
}

// samples are the samples of one pick: from the rotating sampler (drawn), or random.
type samples struct {
	sample
	drawn bool
}

// first returns the first samples of a pick. Samples of the rotating sampler are not checked:
// only the best of them must be usable, and checking the others would cost more than the rest
// of the pick. If the best is not usable, the pick continues with zero samples, as a retry
// does.
func (s *sampler) first(c *candidates) samples {
	if s.rotating == nil || c.retry {
		return samples{}
	}
	return samples{s.rotating.next(), true}
}

// get returns the k-th sample, or -1 if it found none that is usable. A random sample is never the
// candidate except.
func (s *sampler) get(from samples, c *candidates, k, except int) int {
	if from.drawn {
		return s.rotating.at(from.sample, k)
	}
	return s.sample(c, except)
}

// sample returns a usable candidate other than except, or -1 if it found none.
func (a *alias) sample(c *candidates, except int) int {
	for range maxDraws / 2 {
		if i := a.draw(); i != except && c.usable(i) {
			return i
		}
	}
	// One backend may have nearly all the weight: draw evenly without it. The last candidate takes
	// its place, so that its neighbour is not drawn twice as often.
	n := a.n
	if except >= 0 {
		n--
	}
	for range maxDraws / 2 {
		if n == 0 {
			break
		}
		i := weakrand.IntN(n)
		if i == except {
			i = n
		}
		if c.usable(i) {
			return i
		}
	}
	return -1
}
