// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)

// registrar is the address that registers itself.
var registrar = address(maxBackends - 1)

// lifetime is that of a registration.
const lifetime = 2 * time.Second

// play is one run of a schedule.
type play struct {
	*schedule
	t      *testing.T
	name   string // of the pool, of this run alone
	world  *world
	began  time.Time
	proxy  *lbtest.Proxy
	loaded time.Time      // when its configuration was
	wg     sync.WaitGroup // requests
	loads  atomic.Int64   // configurations of both instances so far
	partner

	registered time.Time // until when; zero if it is not
	unsure     time.Time // until when a registration that has ended may be there again, since its end was not kept

	mu       sync.Mutex // guards what follows
	found    []violation
	changed  map[time.Duration]bool // when views were published
	seenDown map[place]bool         // by its check, and not up since
	clients  map[string]*client
	attempts map[string]int   // by request
	servedAt map[string]place // by request and address
	states   map[*backend.State]string
	tried    map[*backend.State]time.Time // when its latest trial ended
	joined   map[*backend.State]time.Time // when it was first in a view
}

// place is a backend at an address, which another one may have later.
type place struct{ address, instance string }

// client is one that sends requests with a session.
type client struct {
	cookies map[string]string
	bound   place          // where its session is; empty if that is not known
	by      int            // the request that says so
	open    int            // its requests under way
	used    time.Time      // when
	been    map[place]bool // who has had its requests
	other   bool           // of the other instance alone
	shaky   bool           // the other instance may have moved its session
}

var plays atomic.Int64

// run runs a schedule in a bubble of virtual time, and returns what did not hold.
func run(t *testing.T, s *schedule) (found []violation) {
	synctest.Test(t, func(t *testing.T) {
		p := &play{
			schedule: s, t: t, name: fmt.Sprint("crossing", plays.Add(1)), began: time.Now(),
			seenDown: make(map[place]bool), clients: make(map[string]*client),
			attempts: make(map[string]int), servedAt: make(map[string]place), partner: partner{asked: make(map[place]membership.Change), apart: make(map[bool]bool)}, states: make(map[*backend.State]string), changed: make(map[time.Duration]bool),
			tried: make(map[*backend.State]time.Time), joined: make(map[*backend.State]time.Time),
		}
		p.world = newWorld(p.name)
		p.world.arrived, p.world.answers = p.arrive, p.answer
		defer worlds.Delete(p.name)
		for i := range maxBackends { // so that they can be lost and replaced
			p.world.push("push", pushable(i))
		}
		p.proxy = p.load()
		p.startOther()
		p.perform()
		p.heal()
		p.endOther()
		p.proxy.Close()
		// A request that was selected before a change may arrive after it in the same instant.
		found = slices.DeleteFunc(p.found, func(v violation) bool { return (v.property == "N" || v.property == "G") && p.changed[v.at] })
	})
	return found
}

func (p *play) violate(property, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = append(p.found, violation{property, time.Since(p.began), fmt.Sprintf(format, args...)})
}

// nameOf returns the name of the pool of the first or the other instance.
func (p *play) nameOf(other bool) string {
	if other {
		return p.name + otherPool
	}
	return p.name
}

func (p *play) pool() *pool.Pool { return p.poolOf(false) }

func (p *play) poolOf(other bool) *pool.Pool { return pool.Current(p.nameOf(other)) }

// apps returns the configuration of the apps.
func (p *play) apps(changed, other bool) caddy.ModuleMap {
	return caddy.ModuleMap{
		"ballast": json.RawMessage(fmt.Sprintf(`{"persist":%v,"pools":{%q:{%s}}%s}`,
			p.has(persist) && !other, p.nameOf(other), p.schedule.pool(p.name, changed, other), p.schedule.fleet(p.name, other))),
		"storage": json.RawMessage(fmt.Sprintf(`{"module":"crossing","world":%q}`, p.name)),
	}
}

func (p *play) load() *lbtest.Proxy {
	proxy := p.loadAs(false)
	p.loaded = time.Now()
	return proxy
}

// loadAs loads the configuration of the first or the other instance.
func (p *play) loadAs(other bool) *lbtest.Proxy {
	proxy, err := lbtest.Load(p.t, p.apps(p.altered, other), p.schedule.proxy(p.nameOf(other)), p.world.backends(other))
	if err != nil {
		p.t.Fatal(err)
	}
	p.loads.Add(1)
	p.noteChange(p.poolOf(other).View())
	p.poolOf(other).Subscribe(p.noteChange)
	return proxy
}

// noteChange notes that a view is published now.
func (p *play) noteChange(v *pool.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed[time.Since(p.began)] = true
	for _, b := range v.Members.All {
		if _, ok := p.joined[b.State]; !ok {
			p.joined[b.State] = time.Now()
		}
	}
}

// perform has the events happen among requests, none at the very same time.
func (p *play) perform() {
	next, n := time.Duration(0), 0
	for _, e := range append(p.events, event{at: length}) {
		for ; next < e.at; n++ {
			p.until(next)
			p.send(fmt.Sprint("c", rand.IntN(8)), 3*time.Second)
			next += time.Duration(1 + rand.Int64N(2*int64(pace)))
		}
		p.until(e.at)
		if e.kind != "" {
			p.event(e)
		}
	}
}

// until lets virtual time pass, has everything be done that is due, and looks.
func (p *play) until(at time.Duration) {
	if d := at - time.Since(p.began); d > 0 {
		time.Sleep(d)
	}
	synctest.Wait()
	p.look()
}

// event has one event happen.
func (p *play) event(e event) {
	defer p.touch()
	if p.world.apply(e) || p.applyToFleet(e) {
		return
	}
	who := address(e.backend)
	admin := func(a health.Admin) { p.change(who, membership.Change{Admin: &a}) }
	override := func(n *int) *membership.Override { return &membership.Override{Value: n} }
	zero, one, three := 0, 1, 3
	switch e.kind {
	case "burst":
		for range 8 {
			p.send(fmt.Sprint("c", rand.IntN(8)), 3*time.Second)
		}
	case "impatient":
		for range 4 {
			p.send(fmt.Sprint("c", rand.IntN(8)), 77*time.Millisecond)
		}
	case "drain":
		admin(health.Drain)
	case "maint":
		admin(health.Maint)
	case "ready":
		admin(health.Ready)
	case "weight 0":
		p.change(who, membership.Change{Weight: override(&zero)})
	case "weight 3":
		p.change(who, membership.Change{Weight: override(&three)})
	case "weight as configured":
		p.change(who, membership.Change{Weight: override(nil)})
	case "cap 1":
		p.change(who, membership.Change{MaxRequests: override(&one)})
	case "cap as configured":
		p.change(who, membership.Change{MaxRequests: override(nil)})
	case "register":
		if _, err := p.pool().Manager().Add(p.registration()); err != nil {
			p.violate("K", "registration is refused: %v", err)
			return
		}
		p.registered = time.Now().Add(lifetime)
	case "deregister":
		if _, err := p.pool().Manager().Remove(registrar, membership.Removal{Registered: true}); err != nil && !errors.Is(err, membership.ErrUnknown) {
			p.violate("K", "the end of a registration is refused: %v", err)
		}
		p.registered = time.Time{}
	case "abort", "resume":
		if err := p.pool().Manager().Rollout(greenGroup, rollout.Action(e.kind), ""); err != nil && e.kind == "abort" {
			p.violate("K", "%s is refused: %v", e.kind, err)
		}
	case "reload", "reload changed":
		p.altered = e.kind == "reload changed"
		p.reload()
	case "reload rejected":
		before := p.known(0)
		_, err := lbtest.Load(p.t, p.apps(true, false), p.schedule.proxy("nope"), p.world.backends(false))
		if err == nil {
			p.t.Fatal("a proxy with a pool that there is not was accepted")
		}
		p.compare("a rejected reload", before, p.known(0))
	case "restart":
		p.restart()
	default:
		p.t.Fatalf("no such event: %q", e.kind)
	}
	synctest.Wait()
	p.look()
}

// registration is that of the registrar.
func (p *play) registration() membership.Addition {
	a := membership.Addition{Address: registrar, TTL: lifetime, Registered: true}
	if p.inGreen(maxBackends - 1) {
		a.Group = greenGroup
	}
	return a
}

func (p *play) change(who string, c membership.Change) { p.changeOn(false, who, c) }

// changeOn has the first or the other instance change a backend.
func (p *play) changeOn(other bool, who string, c membership.Change) {
	b, err := p.poolOf(other).Manager().Change(who, c)
	switch {
	case err == nil:
		p.ask(b, c)
	case !errors.Is(err, membership.ErrUnknown):
		p.violate("K", "a change of %s is refused: %v", who, err)
	}
}

// reload starts the new configuration before it stops the old one.
func (p *play) reload() {
	// While the instances of a fleet find each other again, changes of the other may arrive in a reload.
	arriving := p.has(inFleet) && !p.faulty && !p.agreed()
	before := p.known(0)
	old := p.proxy
	p.proxy = p.load()
	old.Close()
	synctest.Wait()
	if !arriving {
		p.compare("a reload", before, p.known(0))
	}
	p.reloadOther()
}

// restart stops everything and starts it again, when no request is under way.
func (p *play) restart() {
	p.wg.Wait()
	synctest.Wait()
	before, settled, agreed := p.known(stopped), time.Since(p.loaded) >= unsettled, p.agreed()
	// What the source has answered is not kept.
	maps.DeleteFunc(before, func(who string, _ string) bool { return p.pool().Manager().Origin(who) == membership.Discovered })
	if p.has(inFleet) { // a registration may end meanwhile
		delete(before, registrar)
	}
	registered, unsure := time.Now().Before(p.registered), time.Now().Before(p.unsure) // when the state is saved
	p.proxy.Close()
	// The time of a registration begins anew when Caddy starts, unless the fleet knows it.
	anew := time.Now().Add(stopped + lifetime)
	switch {
	case p.has(inFleet) && (registered || unsure):
		p.unsure = anew.Add(200 * time.Millisecond)
		if !p.calm() { // the fleet may have an earlier one, which replaces what was restored
			p.registered = time.Time{}
		}
	case registered:
		p.registered = anew
	}
	time.Sleep(stopped)
	p.mu.Lock()
	clear(p.states)
	if !settled {
		clear(p.seenDown)
		p.unsure = time.Now().Add(lifetime + 200*time.Millisecond)
	}
	for _, c := range p.clients {
		known := agreed && p.wait && time.Since(c.used) > stopped+spreadAfter // to the other instance
		if !p.cookie && !known && !c.other {
			c.bound = place{}
		}
	}
	p.mu.Unlock()
	p.apart[false] = !p.calm()
	p.proxy = p.load()
	p.disturbed = time.Now()
	synctest.Wait()
	if !p.has(inFleet) || agreed {
		p.compare("a restart", before, p.known(0))
	}
}

// client returns the client of a name. The caller must hold p.mu.
func (p *play) client(name string) *client {
	c := p.clients[name]
	if c == nil {
		c = &client{cookies: make(map[string]string), been: make(map[place]bool)}
		p.clients[name] = c
	}
	return c
}

// send sends a request, beside others.
func (p *play) send(name string, patience time.Duration) { p.sendTo(false, name, patience) }

// sendTo sends a request to the first or the other instance.
func (p *play) sendTo(other bool, name string, patience time.Duration) {
	p.mu.Lock()
	c := p.client(name)
	n := len(p.attempts)
	id := fmt.Sprint(n)
	p.attempts[id] = 0
	bound := c.bound
	if c.open > 0 && !p.cookie || c.shaky {
		bound = place{} // a request that is under way may have moved the session
	}
	guest := other && !c.other
	blank := !p.cookie && p.blank(other)
	if guest && time.Since(c.used) < spreadAfter || p.waits() {
		bound = place{}
	}
	c.open++
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	req := p.request(name).WithContext(ctx)
	req.Header.Set("X-Request", id)
	req.Header.Set("X-Loads", fmt.Sprint(p.loads.Load()))
	if p.isOf(req) == greenGroup && p.mayServe(other, greenGroup) && !p.waits() {
		req.Header.Set(servesField, "1")
	}
	p.mu.Lock()
	sent := maps.Clone(c.cookies)
	p.mu.Unlock()
	for k, v := range sent {
		req.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	mayKeep, replaced := p.mayKeep(other, bound, p.isOf(req)), false
	if b := p.poolOf(other).Find(bound.address); b != nil {
		replaced = b.Instance != bound.instance
	}
	proxy := p.proxy
	if other {
		proxy = p.other
	}
	p.wg.Go(func() {
		defer cancel()
		began := time.Now()
		r := proxy.Serve(req)
		reason, session := r.Placeholder("reason"), r.Placeholder("session")
		who := r.Header().Get("X-Upstream")
		p.mu.Lock()
		c.open--
		attempts := p.attempts[id]
		p.mu.Unlock()
		if r.Err != nil && attempts == 0 && time.Since(began) == 0 {
			p.refused(other, reason, p.isOf(req))
		}
		if !p.has(sticky) {
			return
		}
		if mayKeep && r.Err == nil && attempts == 1 && who != bound.address && session != "new" {
			p.violate("S", "the session of %s at %s was served by %s (%s)", name, bound, who, session)
		}
		// Else the last attempt, of which the placeholders tell, had no answer, and that of an earlier one was passed on.
		ofLast := strings.HasSuffix(r.Placeholder("attempts"), "*")
		if replaced && session == "kept" && who == bound.address && ofLast {
			p.violate("I", "the session of %s at %s is kept by another backend there", name, bound)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if guest {
			c.shaky = c.shaky || r.Err != nil || session != "kept"
			return
		}
		if n < c.by { // a later request has been answered; which of them moved the session last is not known
			if session != "spilled" && p.servedAt[id+who] != c.bound {
				c.bound = place{}
			}
			return
		}
		if len(r.Result().Cookies()) == 0 && !maps.Equal(c.cookies, sent) {
			return // another response has begun another session meanwhile
		}
		for _, k := range r.Result().Cookies() {
			c.cookies[k.Name] = k.Value
		}
		switch {
		case r.Err != nil || blank || !ofLast:
			c.bound, c.by = place{}, n
		case session == "new" || session == "kept" || session == "moved":
			c.bound, c.by, c.used = p.servedAt[id+who], n, time.Now()
		case session == "spilled" && (!strings.HasPrefix(r.Placeholder("attempts"), c.bound.address+":") || attempts > 2):
			c.bound, c.by = place{}, n // it moved to a backend that failed, at once or in a retry, and stays there
		}
	})
	synctest.Wait()
}

func (p *play) request(client string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "http://x/", nil)
	req.Header.Set("X-Client", client)
	if last := client[len(client)-1]; p.has(groups) && last%2 == 1 { // all requests of a session are of one group
		req.Header.Set(greenField, "1")
	}
	return req
}

// undo takes back what operators asked of the backends that are not in done. A backend that its
// source has lost joins later, with what was asked of it, also if another source names it meanwhile.
func (p *play) undo(done map[place]bool) {
	for _, b := range p.pool().View().Members.All {
		if at := (place{b.Address, b.Instance}); !done[at] {
			done[at] = true
			p.touch()
			p.change(b.Address, membership.Change{Admin: new(health.Ready), Weight: new(membership.Override), MaxRequests: new(membership.Override)})
		}
	}
}

// heal ends all that is wrong, and has everything become as it was.
func (p *play) heal() {
	p.world.heal()
	if p.has(groups) {
		_ = p.pool().Manager().Rollout(greenGroup, rollout.Resume, "")
	}
	p.healFleet()
	undone, healed := time.Now(), make(map[place]bool)
	if p.has(inFleet) {
		undone = undone.Add(calmAfter + askedAfter)
	}
	gap := pace
	if p.has(slowStart) {
		gap /= 4 // a ramp goes by answers
	}
	n, end := 0, time.Since(p.began)+p.healing()
	for at := time.Since(p.began); at < end; at += gap + time.Duration(rand.Int64N(int64(time.Millisecond))) {
		p.until(at)
		if !time.Now().Before(undone) {
			p.undo(healed)
		}
		p.send(fmt.Sprint("n", n), 3*time.Second)
		n++
	}
	p.wg.Wait()
	synctest.Wait()
	p.look()
	p.healed()
	if p.has(hedging) {
		time.Sleep(time.Second) // the attempt that has lost may still be under way
		synctest.Wait()
	}
	p.empty()
}
