// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import weakrand "math/rand/v2"

// sampler gives picks a few backends to compare: of equal weights as a deck deals
// them, else by weight at random. Safe for concurrent use.
type sampler struct {
	*alias
	n        int // how many
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

// peek is for [picker]: it may begin anywhere, so that explanations tell of chances
// and not of turns.
func (s *sampler) peek() sampler {
	next := *s
	if s.rotating != nil {
		next.rotating = newRotatingSampler(int(s.rotating.backends), s.n)
	}
	return next
}

// samples are those of one pick: a hand, or what is drawn.
type samples struct {
	sample
	drawn bool
}

// first returns the samples to begin with. A hand is dealt unseen: only the backend
// that is best of it has to be usable, and to ask the others costs more than all
// else. If it is not, the pick goes on with the zero samples, as a retry does.
func (s *sampler) first(c *candidates) samples {
	if s.rotating == nil || c.retry {
		return samples{}
	}
	return samples{s.rotating.next(), true}
}

// get returns the k-th of the samples, or -1 if it met none that is usable. What
// is drawn is not the candidate not.
func (s *sampler) get(of samples, c *candidates, k, not int) int {
	if of.drawn {
		return s.rotating.at(of.sample, k)
	}
	return s.sample(c, not)
}

// sample returns a usable candidate other than not, or -1 if it met none.
func (a *alias) sample(c *candidates, not int) int {
	for range maxDraws / 2 {
		if i := a.draw(); i != not && c.usable(i) {
			return i
		}
	}
	// One backend may have nearly all the weight: draw evenly without it. The
	// last stands in for it, so that no neighbour gains.
	n := a.n
	if not >= 0 {
		n--
	}
	for range maxDraws / 2 {
		if n == 0 {
			break
		}
		i := weakrand.IntN(n)
		if i == not {
			i = n
		}
		if c.usable(i) {
			return i
		}
	}
	return -1
}
