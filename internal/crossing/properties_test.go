// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// properties are what must hold, by the letter in the matrix.
var properties = map[string]string{
	"N": "no request goes to a backend that must have none while another may have it",
	"U": "a backend that its check has seen down comes up by passes alone",
	"C": "no backend has more requests in flight than it may",
	"R": "no request is refused while a backend may take it",
	"S": "a session stays while its backend may serve",
	"V": "a drained backend is called safe to remove only if it is",
	"K": "what is known and asked for outlives reloads and restarts, and registrations end in time",
	"H": "when all faults end, all backends serve in full",
	"Z": "counts return to zero",
	"D": "the members are those that a source pushes, and who it says drains does",
	"I": "another backend at an address begins anew",
	"G": "a request goes to no backend of another group, but to the main one if none of its own may have it",
	"F": "the instances of a fleet agree once they reach each other, and divide its limits",
}

// admin returns what operators, sources and agents ask of a backend; the strictest counts.
func admin(b *backend.Backend) health.Admin {
	a, _ := b.Admin()
	return a
}

// may reports whether a backend may have requests, unless it is full.
func may(b *backend.Backend) bool {
	return b.Serving() && b.EffectiveWeight() > 0
}

// ejectedNow reports whether a backend was ejected in this very instant: another request may have
// got its slot before.
func ejectedNow(b *backend.Backend, rules *outlier.Rules) bool {
	r := b.EjectionReport()
	lasts := min(rules.EjectFor*time.Duration(r.Times), rules.MaxEjectFor)
	return r.Until-lasts == clock.Now()
}

// tick is how long the control loop takes to look again while there are requests.
const tick = 50 * time.Millisecond

// answer notes the end of a trial.
func (p *play) answer(who string, from origin) {
	pool := p.poolOf(from.other)
	if pool == nil { // it has ended before its request
		return
	}
	if b := pool.Find(who); b != nil && b.Instance == from.instance && b.EjectionState() == outlier.Probing {
		p.mu.Lock()
		p.tried[b.State] = time.Now()
		p.mu.Unlock()
	}
}

// servesField is in the header of requests of the group that began while it may have them.
const servesField = "X-Serves"

// isOf returns the group of a request.
func (p *play) isOf(req *http.Request) string {
	if req.Header.Get(greenField) != "" {
		return greenGroup
	}
	return ""
}

// open reports whether a group gets requests.
func (p *play) open(other bool, in string) bool {
	g := p.poolOf(other).Groups().Find(in)
	return g == nil || g.Rollout.Open()
}

// mayServe reports whether a backend of a group may have requests, and the group gets some.
func (p *play) mayServe(other bool, in string) bool {
	pool := p.poolOf(other)
	i := pool.Groups().Index(in)
	return i == group.Main || p.open(other, in) && slices.ContainsFunc(pool.View().Of(i).Own.All, func(b *backend.Backend) bool { return may(b) && !p.justTried(b) })
}

// lookAtGroup checks G when a request reaches a backend.
func (p *play) lookAtGroup(pool *pool.Pool, b *backend.Backend, req *http.Request) {
	in := p.isOf(req)
	switch {
	case b.Group != "" && b.Group != in:
		p.violate("G", "%s is of the group %s and gets a request of group %q", b.Address, b.Group, in)
	case b.Group != in && req.Header.Get(servesField) != "" && p.mayServe(strings.HasSuffix(pool.Name, otherPool), in):
		p.violate("G", "%s is of group %q and gets a request of group %s, of which one may have it", b.Address, b.Group, in)
	}
}

// justTried reports whether a trial of the backend ended so lately that the view need not know it yet. Trials change
// views with the next tick: no request publishes one (decision 004). Until then the shares are those of the view in
// which the backend was on trial, and who is ejected or outside the subset serves if nobody else did.
func (p *play) justTried(b *backend.Backend) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended, ok := p.tried[b.State]
	return ok && time.Since(ended) <= tick
}

// arrive checks N and C when a request reaches a backend.
func (p *play) arrive(who string, req *http.Request, other bool) (from origin) {
	pool := p.poolOf(other)
	b := pool.Find(who)
	if b == nil {
		p.violate("N", "%s got a request and is no member", who)
		return origin{other: other}
	}
	from = origin{other, b.Instance}
	at := place{who, b.Instance}
	p.mu.Lock()
	id := req.Header.Get("X-Request")
	p.attempts[id]++
	p.servedAt[id+who] = at
	c := p.client(req.Header.Get("X-Client"))
	bound, joins := p.has(sticky) && c.been[at], p.joined[b.State] == time.Now()
	c.been[at] = true
	p.mu.Unlock()
	inFlight := 0
	p.world.do(who, func(s *server) { inFlight = s.inFlight[from] })
	// Its agent is first asked in the instant in which it joins, when others may be there already.
	if limit := b.Limit(); b.Limited() && inFlight >= limit && !joins {
		p.violate("C", "%s has %d requests in flight and gets one more; at most %d", who, inFlight, limit)
	}
	switch a := admin(b); {
	case a == health.Maint:
		p.violate("N", "%s is in maintenance and gets a request", who)
	case a == health.Drain && !bound:
		p.violate("N", "%s is drained and gets a request without a session there", who)
	case b.EffectiveWeight() <= 0 && !bound:
		p.violate("N", "%s has weight 0 and gets a request without a session there", who)
	}
	p.lookAtGroup(pool, b, req)
	view := pool.View().Of(max(pool.GroupOf(b), group.Main))
	if b.Unused() && !bound {
		for _, other := range view.Own.Used {
			if may(other) && !p.justTried(other) {
				p.violate("N", "%s is not in the subset and gets a request, while %s may", who, other.Address)
			}
		}
	}
	if b.Up() && (b.EjectionState() != outlier.Ejected || ejectedNow(b, pool.Options().Outliers)) || view.Panic {
		return from
	}
	for _, other := range view.Own.All {
		if other != b && may(other) && !p.justTried(other) {
			p.violate("N", "%s is %s and gets a request, while %s may", who, b.Condition().State, other.Address)
			return from
		}
	}
	return from
}

// refused checks R when a request was refused at once. Who is not in the subset may take it when none in
// the subset may, even if these are full.
func (p *play) refused(other bool, reason, in string) {
	pool := p.poolOf(other)
	view := pool.View()
	if p.mayServe(other, in) {
		view = view.Of(pool.Groups().Index(in))
	}
	all := view.Own.All
	if slices.ContainsFunc(view.Own.Used, may) {
		all = view.Own.Used
	}
	for _, b := range all {
		if may(b) && b.Eligible() {
			p.violate("R", "refused (%s) while %s may take it", reason, b.Address)
			return
		}
	}
}

// mayKeep reports whether a session of a request of a group must stay at a backend.
func (p *play) mayKeep(other bool, who place, in string) bool {
	b := p.poolOf(other).Find(who.address)
	if b == nil || b.Group != in || !p.open(other, in) || b.Instance != who.instance || b.EjectionState() != outlier.Healthy || !b.Up() || admin(b) == health.Maint {
		return false
	}
	return !b.Limited() || b.Taken() < b.Limit()
}

// look checks U, V and K as things are now.
func (p *play) look() {
	pool := p.pool()
	registered := false
	p.mu.Lock()
	maps.DeleteFunc(p.seenDown, func(who place, _ bool) bool { // one that comes back begins anew
		b := pool.Find(who.address)
		return b == nil || b.Instance != who.instance
	})
	p.mu.Unlock()
	for _, b := range pool.View().Members.All {
		registered = registered || b.Address == registrar
		p.mu.Lock()
		p.states[b.State] = b.Address
		p.mu.Unlock()
		if p.has(healthChecks) {
			p.lookAtCheck(b)
		}
		p.lookAtAsked(b)
		if admin(b) != health.Ready && report.OfBackend(pool, b).Drain.Safe {
			p.lookAtDrain(b)
		}
	}
	if p.has(pushing) {
		p.lookAtSource()
	}
	p.lookAtFleet()
	switch now := time.Now(); {
	case now.Before(p.registered) && !registered:
		p.violate("K", "%s has registered itself and is no member", registrar)
	case registered && p.has(registration) && now.After(p.registered.Add(100*time.Millisecond)) && now.After(p.unsure):
		p.violate("K", "the registration of %s has ended, and it is a member", registrar)
	}
}

func (p *play) lookAtCheck(b *backend.Backend) {
	passed := 0
	p.world.do(b.Address, func(s *server) { passed = s.passed })
	up := b.Statuses()[0].Up()
	p.mu.Lock()
	was := p.seenDown[place{b.Address, b.Instance}]
	p.seenDown[place{b.Address, b.Instance}] = !up
	p.mu.Unlock()
	if was && up && passed < p.passes {
		p.violate("U", "%s was down and is up after %d passes, %d make it so", b.Address, passed, p.passes)
	}
}

func (p *play) lookAtDrain(b *backend.Backend) {
	inFlight := 0
	p.world.do(b.Address, func(s *server) { inFlight = s.inFlight[origin{false, b.Instance}] })
	if inFlight > 0 {
		p.violate("V", "%s is called safe to remove with %d requests in flight", b.Address, inFlight)
	}
	p.mu.Lock()
	var live []string
	for name, c := range p.clients {
		if !p.cookie && (c.open > 0 || c.shaky) || c.other {
			continue // a request that is under way may have moved the session
		}
		if c.bound == (place{b.Address, b.Instance}) && time.Since(c.used) < 50*time.Second && admin(b) != health.Maint {
			live = append(live, name)
		}
	}
	p.mu.Unlock()
	if len(live) > 0 {
		p.violate("V", "%s is called safe to remove with %d sessions", b.Address, len(live))
	}
}

// unsettled is for how long a configuration keeps nothing of what it learns: it may yet
// be rejected.
const unsettled = 2 * time.Second

// stopped is for how long nothing runs in a restart.
const stopped = time.Second

// known is what outlives a configuration, or a restart that takes so long, of each
// member.
func (p *play) known(restart time.Duration) map[string]string {
	all := make(map[string]string)
	for _, b := range p.pool().View().Members.All {
		weight := "as configured"
		if w := b.OperatorWeight(); w != nil {
			weight = fmt.Sprint(w.Value)
		}
		limit := "as configured"
		if n := b.OperatorMaxRequests(); n != nil {
			limit = fmt.Sprint(*n)
		}
		all[b.Address] = fmt.Sprintf("%v, weight %s, limit %s", b.AdminState(), weight, limit)
		if restart > 0 && time.Since(p.loaded) < unsettled {
			continue // what was learned since is not kept
		}
		if !b.Up() && (restart == 0 || !b.Joining()) { // to join is nothing that is known of a backend
			all[b.Address] += ", down"
		}
		if e := b.EjectionReport(); e.State != outlier.Healthy && (restart == 0 || e.State == outlier.Ejected && e.Until-clock.Now() > restart) {
			all[b.Address] += ", ejected"
		}
	}
	return all
}

// compare checks K.
func (p *play) compare(what string, before, after map[string]string) {
	for who, was := range before {
		is, member := after[who]
		p.world.do(who, func(s *server) {
			if s.passed >= p.passes { // it may have come up meanwhile
				was, is = strings.Replace(was, ", down", "", 1), strings.Replace(is, ", down", "", 1)
			}
		})
		if !member {
			p.violate("K", "%s: %s is a member no longer", what, who)
		} else if !containsAll(is, was) { // more may have gone wrong
			p.violate("K", "%s: %s was %s; it is %s", what, who, was, is)
		}
	}
}

// containsAll reports whether a description has all parts of an earlier one.
func containsAll(is, was string) bool {
	parts := strings.Split(is, ", ")
	return !slices.ContainsFunc(strings.Split(was, ", "), func(part string) bool { return !slices.Contains(parts, part) })
}

// healed checks H. Only the first tier gets requests that show that all is well.
func (p *play) healed() {
	pool := p.pool()
	first := make(map[string]int) // by group
	for _, b := range pool.View().Members.All {
		if tier, ok := first[b.Group]; *b.Weight > 0 && (!ok || b.Tier < tier) {
			first[b.Group] = b.Tier
		}
	}
	for _, b := range pool.View().Members.All {
		if *b.Weight == 0 || b.Tier != first[b.Group] || b.Unused() {
			continue
		}
		// A ramp goes by answers, and policies that go by load or latency send few to a
		// light backend while all are idle. Few go abroad.
		ramps := p.has(slowStart) && (pool.Options().Locality.Abroad(b) || !slices.Contains(lbtest.Policies(lbtest.ByWeight), p.policy))
		if c := b.Condition(); c.State != backend.StateUp || b.EffectiveWeight() < float64(*b.Weight) && !ramps {
			p.violate("H", "%s is %s (%s) with weight %v of %d", b.Address, c.State, c.Reason, b.EffectiveWeight(), *b.Weight)
		}
	}
	for n := range 20 {
		if w, err := p.proxy.Do(p.request(fmt.Sprint("last", n))); err != nil || w.Code != http.StatusOK {
			p.violate("H", "a request gets %d, %v", w.Code, err)
		}
	}
}

// empty checks Z.
func (p *play) empty() {
	for s, who := range p.states {
		if s.Taken() != 0 || s.Host.NumRequests() != 0 {
			p.violate("Z", "%s: %d slots taken, %d requests in flight", who, s.Taken(), s.Host.NumRequests())
		}
	}
	for _, other := range p.running() {
		pool := p.poolOf(other)
		if n, waiting := pool.InFlight(), pool.Totals().Waiting; n != 0 || waiting != 0 {
			p.violate("Z", "%d attempts in flight, %d requests wait", n, waiting)
		}
	}
}
