// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	core "github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// otherPool ends the name of the pool of the other instance.
const otherPool = "-other"

const (
	// calmAfter is how long after the last fault of the fleet all instances must have what they
	// share: three heartbeats, and a backoff.
	calmAfter = 4 * time.Second
	// dividedAfter is likewise for shares, which grow three heartbeats after the store is back.
	dividedAfter = 6 * time.Second
	// spreadAfter is more than a change takes from one instance to the other.
	spreadAfter = 300 * time.Millisecond
	// askedAfter is more than sources and changes take to be the same on both.
	askedAfter = 1500 * time.Millisecond
)

// linkStore is the store of an instance of a world.
type linkStore struct {
	World string `json:"world,omitempty"`
	Other bool   `json:"other,omitempty"`
}

func (*linkStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.fleet.crossing", New: func() caddy.Module { return new(linkStore) }}
}

func (s *linkStore) Open() (core.Conn, error) { return worldOf(s.World).links[s.Other].Open() }

// partner is the other instance of the fleet, and what is known of the fleet. Only the goroutine of
// the events uses it.
type partner struct {
	other     *lbtest.Proxy // nil while it does not run
	altered   bool          // the configuration is the changed one
	faulty    bool          // the store or a link does not work
	disturbed time.Time     // when that began or ended, or an instance came or went
	touched   time.Time     // when the latest event was
	compared  bool          // the instances, since then
	divided   bool          // likewise, their shares
	asked     map[place]membership.Change
	apart     map[bool]bool // the instances, from a start in a fault of the fleet on until they agree
}

// running returns which instances run: the first one, and perhaps the other.
func (p *play) running() []bool {
	if p.other == nil {
		return []bool{false}
	}
	return []bool{false, true}
}

func (p *play) touch() { p.touched, p.compared, p.divided = time.Now(), false, false }

// disturb notes that the fleet is disturbed now. Who has not read what the store has may find it lost.
func (p *play) disturb() {
	p.disturbed = time.Now()
	for _, other := range p.running() {
		p.apart[other] = p.apart[other] || p.unread(other)
	}
}

// calm reports whether the fleet has been without faults for so long that all is shared.
func (p *play) calm() bool { return !p.faulty && time.Since(p.disturbed) >= calmAfter }

// ask notes what was asked of a backend.
func (p *play) ask(b *backend.Backend, c membership.Change) {
	at := place{b.Address, b.Instance}
	all := p.asked[at]
	if c.Admin != nil {
		all.Admin = c.Admin
	}
	if c.Weight != nil {
		all.Weight = c.Weight
	}
	if c.MaxRequests != nil {
		all.MaxRequests = c.MaxRequests
	}
	p.asked[at] = all
}

func (p *play) startOther() {
	if p.has(inFleet) && p.other == nil {
		p.apart[true] = !p.calm()
		p.other = p.loadAs(true)
		p.disturbed = time.Now()
	}
}

func (p *play) endOther() {
	if p.other == nil {
		return
	}
	p.wg.Wait()
	p.other.Close()
	p.other = nil
	p.disturb()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		if c.other {
			c.bound = place{}
		}
	}
}

func (p *play) reloadOther() {
	if old := p.other; old != nil {
		p.other = p.loadAs(true)
		old.Close()
	}
}

// waits reports whether requests to the first instance wait for the fleet.
func (p *play) waits() bool {
	select {
	case <-core.Of(p.proxy.Context()).Synced():
		return false
	default:
		return p.wait
	}
}

// unread reports whether the first or the other instance has not read what the store has since it started.
func (p *play) unread(other bool) bool {
	proxy := p.proxy
	if other {
		proxy = p.other
	}
	return p.has(inFleet) && len(core.Of(proxy.Context()).Status().Resyncs) == 0
}

// blank reports whether the first or the other instance may not know what the fleet has. A session that
// it begins then may yet move to where the fleet has it: the first binding wins.
func (p *play) blank(other bool) bool {
	if p.calm() && !p.unread(other) {
		p.apart[other] = false
	}
	return p.apart[other] || p.unread(other)
}

// agreed reports whether the instances must have the same of what they share.
func (p *play) agreed() bool {
	return p.other != nil && p.calm() && time.Since(p.touched) >= spreadAfter
}

var errCutOff = errors.New("cut off")

// applyToFleet has the other instance, or the store, do an event. It returns false for other events.
func (p *play) applyToFleet(e event) bool {
	w, even := p.world, e.backend%2 == 0
	who, zero := address(e.backend), 0
	change := func(c membership.Change) {
		if p.other != nil {
			p.changeOn(true, who, c)
		}
	}
	admin := func(a health.Admin) { change(membership.Change{Admin: &a}) }
	switch e.kind {
	case "other drain":
		admin(health.Drain)
	case "other maint":
		admin(health.Maint)
	case "other ready":
		admin(health.Ready)
	case "other weight 0":
		change(membership.Change{Weight: &membership.Override{Value: &zero}})
	case "other weight as configured":
		change(membership.Change{Weight: new(membership.Override)})
	case "other register":
		if p.other != nil {
			if _, err := p.poolOf(true).Manager().Add(p.registration()); err != nil {
				p.violate("K", "registration with the other is refused: %v", err)
			}
			p.unsure = time.Now().Add(lifetime + spreadAfter)
		}
	case "other burst":
		for range 4 {
			p.sendToOther()
		}
	case "other ends":
		w.links[true].Fail(map[bool]error{true: errCutOff}[even]) // it leaves, or dies
		p.endOther()
		w.links[true].Fail(nil)
	case "other starts":
		p.startOther()
	case "cut off":
		p.fault(even, w.links[e.backend%4 < 2].Fail, w.links[e.backend%4 < 2].Stall)
	case "store fails":
		p.fault(even, w.store.Fail, w.store.Stall)
	case "store loses":
		if even {
			w.store.Lose()
		} else {
			w.store.Gap()
		}
		p.disturb()
	case "store works":
		p.mend()
	default:
		return false
	}
	return true
}

// fault makes the store, or the link to it, fail or hang.
func (p *play) fault(fails bool, fail func(error), stall func(bool)) {
	if fails {
		fail(errCutOff)
	} else {
		stall(true)
	}
	p.faulty = true
	p.disturb()
}

// mend ends all faults of the store.
func (p *play) mend() {
	w := p.world
	w.store.Fail(nil)
	w.store.Stall(false)
	for _, l := range w.links {
		l.Fail(nil)
		l.Stall(false)
	}
	p.faulty = false
	p.disturb()
}

// healFleet ends all faults of the fleet.
func (p *play) healFleet() {
	p.mend()
	p.startOther()
	p.touch()
}

// sendToOther sends a request to the other instance: of a client whose session both must know, or of
// one of its own.
func (p *play) sendToOther() {
	if p.other == nil {
		return
	}
	if p.has(sticky) && !p.cookie && p.agreed() {
		p.sendTo(true, fmt.Sprint("c", rand.IntN(8)), 3*time.Second)
		return
	}
	name := fmt.Sprint("o", rand.IntN(4))
	p.mu.Lock()
	p.client(name).other = true
	p.mu.Unlock()
	p.sendTo(true, name, 3*time.Second)
}

// lookAtFleet checks F once after each event, when enough time has passed.
func (p *play) lookAtFleet() {
	if !p.agreed() || time.Since(p.touched) < askedAfter {
		return
	}
	mine, others := p.pool(), p.poolOf(true)
	if !p.divided && time.Since(p.disturbed) >= dividedAfter {
		p.divided = true
		for _, b := range mine.View().Members.All {
			p.lookAtShare(b, others.Find(b.Address))
		}
	}
	if p.compared {
		return
	}
	p.compared = true
	is, was := p.members(mine), p.members(others)
	for _, who := range slices.Sorted(maps.Keys(is)) {
		if other, ok := was[who]; !ok || other != is[who] {
			p.violate("F", "%s is %q, and on the other %q", who, is[who], other)
		}
	}
	for who, other := range was {
		if _, ok := is[who]; !ok {
			p.violate("F", "%s is no member, and on the other %q", who, other)
		}
	}
	for _, b := range mine.View().Members.All {
		if safe := mine.Manager().FleetDrain(b); safe != nil && safe.Safe && admin(b) != health.Ready {
			inFlight := 0
			p.world.do(b.Address, func(s *server) {
				inFlight = s.inFlight[origin{false, b.Instance}] + s.inFlight[origin{true, b.Instance}]
			})
			if inFlight > 0 {
				p.violate("V", "%s is called safe to remove with %d requests in flight", b.Address, inFlight)
			}
		}
	}
}

// lookAtShare checks that two instances divide a limit.
func (p *play) lookAtShare(b, other *backend.Backend) {
	if other == nil {
		return
	}
	limit, share, ok := b.FleetLimit()
	_, rest, _ := other.FleetLimit()
	if ok && share+rest != limit {
		p.violate("F", "of the limit %d of %s the instances have %d and %d", limit, b.Address, share, rest)
	}
}

// members describes what the instances of a fleet have in common of a pool. What a source finds may
// differ while it fails.
func (p *play) members(of *pool.Pool) map[string]string {
	p.world.mu.Lock()
	failing := p.world.failing
	p.world.mu.Unlock()
	all := make(map[string]string)
	for _, b := range of.View().Members.All {
		origin := of.Manager().Origin(b.Address)
		near := func(t time.Time) bool { return time.Since(t).Abs() < spreadAfter }
		if failing && origin == membership.Discovered || b.Address == registrar && (near(p.registered) || near(p.unsure)) {
			continue
		}
		text := fmt.Sprintf("%s %q of weight %d in tier %d from %s: %v", b.ID, b.Instance, *b.Weight, b.Tier, origin, b.AdminState())
		if w := b.OperatorWeight(); w != nil {
			text += fmt.Sprint(", weight ", w.Value)
		}
		if n := b.OperatorMaxRequests(); n != nil {
			text += fmt.Sprint(", limit ", *n)
		}
		all[b.Address] = text
	}
	return all
}

// lookAtAsked checks I, and F for what operators have asked for: an instance that is new has what was
// asked of it, and nothing else.
func (p *play) lookAtAsked(b *backend.Backend) {
	asked := p.asked[place{b.Address, b.Instance}]
	if b.Instance != "" && (asked.Admin == nil && b.AdminState() != health.Ready || asked.Weight == nil && b.OperatorWeight() != nil || asked.MaxRequests == nil && b.OperatorMaxRequests() != nil) {
		p.violate("I", "nobody has asked for what %s %s has: %v, %v, %v", b.Address, b.Instance, b.AdminState(), b.OperatorWeight(), b.OperatorMaxRequests())
	}
}
