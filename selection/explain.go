// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// explainPicks is the number of picks in an explanation, since the picks of a randomized policy
// differ.
const explainPicks = 1000

// explain is a [pool.Explainer]. It uses the pickers of the requests, and reserves nothing.
func (a *Adapter) explain(r *http.Request) pool.Explanation {
	all := a.derived.Load()
	name, _ := a.policy.(string)
	e := pool.Explanation{Policy: name, Candidates: a.pool.Candidates(all.view)}
	chosen, trials, d, group := make(map[*backend.Backend]int), 0, all, 0
	for range explainPicks { // the group of a request without a key is random
		group = a.pool.GroupFor(r)
		d = all.of(group)
		b, trial := a.peek(d, r)
		if b == nil {
			break
		}
		chosen[b]++
		if trial {
			trials++
		}
	}
	a.rate(&e, all, r, chosen)
	if e.Backend != nil {
		group = a.pool.GroupOf(e.Backend)
		d = all.of(group)
	}
	switch {
	case e.Backend != nil && a.waits && d.view.Full(e.Backend):
		e.Why = "the owner of the key is full; the request waits while the queue has room"
	case e.Backend == nil && d.view.Reason != "":
		e.Why = "no backend can take a request: " + string(d.view.Reason)
	case e.Backend == nil:
		e.Why = "all backends are full; the request waits, where there is a queue"
	case a.pool.Saturated(group):
		e.Why = "nearly all backends are full: the request gets the next free slot; without the queue the policy would choose this backend"
	case trials > 0:
		e.Why = "half-open: the next request is the trial"
	case e.Odds == 1:
		e.Why = name + " chooses it"
	default:
		e.Why = fmt.Sprintf("%s chooses it with a probability of %.0f %%", name, 100*e.Odds)
	}
	if len(a.pool.Groups()) > 0 {
		e.Group = cmp.Or(a.pool.GroupName(group), "main")
		e.Why = groupText(a.pool.GroupName(group)) + ": " + e.Why
	}
	return e
}

// peek returns the backend that a request would get now, as selectFromPool finds it, or nil for
// none, and whether the request would be a trial.
func (a *Adapter) peek(d *derived, r *http.Request) (b *backend.Backend, trial bool) {
	if b := d.view.PeekTrial(a.pickKeyed(r)); b != nil {
		return b, true
	}
	if a.waits {
		if b := a.owner(d, r, nil); b != nil {
			return b, false
		}
	}
	first := 0
	if d.view.SpillsOver() {
		first = d.view.TierFor(a.draw(r))
	}
	for n := range d.pickers {
		i := d.view.TierOrder(first, n)
		if k := d.pickers[i].peek().pick(a.candidates(d, i, nil), r); k >= 0 {
			return d.groups[i].backends[k], false
		}
	}
	return nil, false
}

// rate sets the probability and the score of each candidate, and why it is passed over.
func (a *Adapter) rate(e *pool.Explanation, all *derived, r *http.Request, chosen map[*backend.Backend]int) {
	type place struct {
		in       *derived
		tier, at int
	}
	places := make(map[*backend.Backend]place)
	for _, d := range append([]*derived{all}, all.others...) {
		for i, g := range d.groups {
			for k, b := range g.backends {
				places[b] = place{d, i, k}
			}
		}
	}
	for i := range e.Candidates {
		c := &e.Candidates[i]
		c.Odds = float64(chosen[c.Backend]) / explainPicks
		if c.Odds > e.Odds {
			e.Backend, e.Odds = c.Backend, c.Odds
		}
		found, ok := places[c.Backend]
		if !ok {
			continue
		}
		of := a.candidates(found.in, found.tier, nil)
		c.Score = found.in.pickers[found.tier].score(&of, found.at, r)
	}
	for i := range e.Candidates {
		switch c := &e.Candidates[i]; {
		case c.Odds > 0:
			c.PassedOver = ""
		case c.PassedOver != "" || e.Backend == nil:
		case c.Backend.Group != e.Backend.Group:
			c.PassedOver = "the request goes to the " + groupText(e.Backend.Group)
		case c.Backend.Backup && !e.Backend.Backup:
			c.PassedOver = "a backup serves only when no other backend can"
		case c.Backend.Tier != e.Backend.Tier || c.Backend.Backup != e.Backend.Backup:
			c.PassedOver = fmt.Sprintf("tier %d serves only when lower tiers cannot", c.Backend.Tier)
		case places[c.Backend].tier != places[e.Backend].tier:
			c.PassedOver = "requests of this zone go to backends of another one"
		default:
			c.PassedOver = "the policy prefers another backend"
		}
	}
}

// groupText returns the name of a group in texts.
func groupText(name string) string {
	if name == "" {
		return "main group"
	}
	return "group " + name
}

func loadScore(c *candidates, i int) map[string]float64 {
	load := c.load(i)
	return map[string]float64{"in_flight": float64(c.inFlight(i)), "load": load, "score": load / c.weights[i]}
}

// costScore returns the criteria of [cost], with latencies in seconds. An unknown latency is
// left out.
func costScore(c *candidates, i int, latency, inverse float64) map[string]float64 {
	s := map[string]float64{"in_flight": float64(c.inFlight(i)), "score": cost(latency, c.queue(i), inverse) / 1e9}
	if latency > 0 && latency < unknown {
		s["latency_seconds"] = latency / 1e9
	}
	return s
}
