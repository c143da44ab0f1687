// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"math"
	"net/http"
)

// hashPicker picks by the hash of a request's key.
type hashPicker struct {
	hashTable
	hash     func(*http.Request) (uint64, bool) // of the key; false without a key
	fallback picker
	order    []int32 // candidates with a weight above 0, sorted by id
	factor   float64 // of the bounded load; 0: none
	sum      float64 // of the weights
}

// maxHops bounds how many positions a pick skips before it scans all candidates.
const maxHops = 256

func (p *hashPicker) pick(c candidates, r *http.Request) int {
	h, ok := p.hash(r)
	if !ok {
		return p.fallback.pick(c, r)
	}
	pos := p.start(h)
	for range maxHops {
		if i := p.owner(pos); c.usable(i) {
			if p.fits(&c, i) {
				return i
			}
			return p.jump(&c, h)
		}
		pos = p.next(pos)
	}
	return p.scan(&c, h)
}

// peek implements [picker].
func (p *hashPicker) peek() picker {
	next := *p
	next.fallback = p.fallback.peek()
	return &next
}

// score implements [picker]: whether the key belongs to the backend, and its bound of requests
// in flight, if there is one.
func (p *hashPicker) score(c *candidates, i int, r *http.Request) map[string]float64 {
	h, ok := p.hash(r)
	if !ok {
		return p.fallback.score(c, i, r)
	}
	s := map[string]float64{"owner": 0, "in_flight": float64(c.inFlight(i))}
	if p.owner(p.start(h)) == i {
		s["owner"] = 1
	}
	if p.factor > 0 {
		s["bound"] = p.bound(c, i)
	}
	return s
}

// preferred returns the candidate to which the request's key belongs, if it is usable, else -1.
func (p *hashPicker) preferred(c candidates, r *http.Request) int {
	h, ok := p.hash(r)
	if !ok {
		return -1
	}
	if i := p.owner(p.start(h)); c.usable(i) && p.fits(&c, i) {
		return i
	}
	return -1
}

// fits reports whether candidate i may take one more request: with it, no backend has more than
// factor times its share of all requests in flight, rounded up.
func (p *hashPicker) fits(c *candidates, i int) bool {
	if p.factor == 0 {
		return true
	}
	return float64(c.inFlight(i)) < p.bound(c, i)
}

func (p *hashPicker) bound(c *candidates, i int) float64 {
	return math.Ceil(p.factor * float64(c.all.InFlight()+1) * c.weights[i] / p.sum)
}

// jump picks for a key whose backend has reached its bounded load. It rehashes the key, which
// spreads the overflow over all others by weight. The next neighbour on the ring would overflow in
// turn (arXiv 1908.08762).
func (p *hashPicker) jump(c *candidates, h uint64) int {
	again := h
	for range maxHops {
		again = mix(again)
		if i := p.owner(p.start(again)); c.usable(i) && p.fits(c, i) {
			return i
		}
	}
	return p.scan(c, h)
}

// scan visits all candidates in an order that depends on the key, and returns the first that
// fits, or else the one with the lowest load by weight.
func (p *hashPicker) scan(c *candidates, h uint64) int {
	n := uint64(len(p.order))
	position, step := mix(h)%n, mix(mix(h))%n+1
	for gcd(int(step), int(n)) > 1 {
		step++
	}
	best := -1
	for range n {
		i := int(p.order[position])
		position = (position + step) % n
		if !c.usable(i) {
			continue
		}
		if p.fits(c, i) {
			return i
		}
		if best < 0 || c.less(i, best) {
			best = i
		}
	}
	return best
}
