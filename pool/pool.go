// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Pool is one pool of one configuration.
type Pool struct {
	*pool.Pool

	// Set while it is provisioned, then read-only.
	app        *App
	identity   string // of the checks
	scheme     string
	guard      bool // against common causes of failed checks
	limit      int  // max_requests of discovered backends
	limitFleet bool // the instances of the fleet share it
	loop       *controlLoop
	joining    atomic.Bool // a member may be joining a pool with checks
	checks     []check
	sources    []*source
	refs       shared.Refs        // to the discoveries, the counters and the overlay
	endpoints  []backend.Endpoint // of the configured backends
	digests    map[string]string  // of the configured settings, by address
	overlay    *overlay
	unwatch    func()    // ends what start has begun
	caughtUp   sync.Once // of applyReplicated, after the wait for the fleet

	subsets        subsetting
	metric         orca.Metric   // of load reports
	reportInterval time.Duration // of load reports out of band; 0 for none
	reportOptions  check         // for the options of the transports

	transport *httptransport.Transport // of the proxies, nil if there is none
	firstAt   caddyfileutil.Position   // of the first proxy

	mu       sync.Mutex         // held while members change; guards the fields below
	current  map[string]*member // by address
	order    []*member          // the same members, in the order of display
	refused  map[string]bool    // invalid addresses, already logged
	running  bool
	released bool
}

// provision builds the pool, with the state that earlier configurations have left.
func (p *Pool) provision(ctx caddy.Context, cfg *Config) error {
	endpoints, scheme, err := cfg.resolve()
	if err != nil {
		return err
	}
	p.scheme = scheme
	if err := p.loadChecks(ctx, cfg); err != nil {
		return err
	}
	if err := p.loadSources(ctx, cfg); err != nil {
		return err
	}
	rules, err := cfg.rules()
	if err != nil {
		return err
	}
	if err := cfg.Hedge.loadMatchers(ctx, rules.Hedge); err != nil {
		return err
	}
	if err := p.loadGroups(ctx, cfg, &rules); err != nil {
		return err
	}
	if err := p.app.setZone(rules.Locality); err != nil {
		return err
	}
	if err := p.subsets.provision(p.app.Fleet(), cfg.Subset); err != nil {
		return err
	}
	p.ShareCounters(&p.refs)
	if rules.Mirror, err = cfg.Mirror.provision(scheme, p.MirrorCounters()); err != nil {
		return err
	}
	p.SetOptions(rules)
	p.limit, p.limitFleet = cfg.MaxRequests, cfg.MaxRequestsFleet
	p.SetFleet(p.app.Fleet())
	if err := p.checkFleet(endpoints...); err != nil {
		return err
	}
	p.metric, _ = orca.ParseMetric(cfg.OrcaMetric) // checked by rules
	p.reportInterval = time.Duration(cfg.OrcaReport)
	p.guard = cfg.Guard == nil || *cfg.Guard
	p.loop = newControlLoop(p)
	p.current, p.refused = make(map[string]*member), make(map[string]bool)
	p.endpoints, p.digests = endpoints, make(map[string]string)
	for _, s := range endpoints {
		p.digests[s.Address] = digestOf(s)
	}
	p.SetManager(p)
	if f := p.app.FleetConfig; f != nil && f.Wait > 0 {
		p.Ready = p.awaitFleet
	}
	p.attachOverlay()
	if err := p.addConfigured(); err != nil {
		return err
	}
	p.reconcile()
	if p.ofFleet() != nil {
		p.Subscribe(func(*pool.View) { p.overlay.observer.note() })
	}
	return nil
}

// start begins the probes of the members and discovery.
func (p *Pool) start() {
	p.mu.Lock()
	if before := pool.Current(p.Name); before != nil {
		p.loop.panics = inPanic(before)
	}
	p.Activate()
	p.running = true
	members := p.members()
	p.Publish() // statuses may have changed since the pool was built
	p.loop.adopt(p, members)
	p.startUsed()
	p.mu.Unlock()
	p.subsets.start(p)
	p.unwatch = p.app.Fleet().Watch(func(*fleet.Instances) { p.adoptShares() })
	p.adoptShares() // they may have changed before
	p.overlay.start(p)
	p.loop.Start(p)
	for _, s := range p.sources {
		s.discovery.Start(s)
	}
	if len(p.sources) > 0 {
		p.reconcile() // an answer since the pool was built has reached only earlier configurations
	}
}

// await waits until every source has answered once, or until timeout is closed.
func (p *Pool) await(timeout <-chan struct{}) {
	for _, s := range p.sources {
		select {
		case <-s.discovery.firstAnswer:
		case <-timeout:
			return
		}
	}
}

// stop ends what start began, and waits until it has ended.
func (p *Pool) stop() {
	for _, s := range p.sources {
		s.discovery.Stop(s)
	}
	p.subsets.stop(p)
	p.mu.Lock()
	p.running = false
	for _, m := range p.members() {
		m.stop()
	}
	p.Deactivate()
	p.mu.Unlock()
	if p.unwatch != nil {
		p.unwatch()
	}
	p.overlay.stop(p)
	p.loop.Stop(p)
	p.Mirror().Stop()
}

// adoptShares applies the shares of the limits of the fleet. Limits that have become lower apply at
// once, before other instances use theirs; the control loop gives the rest to requests that wait.
func (p *Pool) adoptShares() {
	any := false
	for _, b := range p.View().Members.All {
		if _, _, ok := b.FleetLimit(); ok {
			any = true
			b.ApplyMaxRequests()
		}
	}
	if any {
		p.loop.wakeForStatus()
	}
}

// release releases the references of the pool. The pool keeps its last view, for requests in
// flight; backends that are removed later get none of them.
func (p *Pool) release() {
	p.Mirror().Stop() // of a configuration that has served and never started
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	for _, m := range p.members() {
		m.release(false)
	}
	if p.overlay != nil { // else provisioning failed before it
		p.overlay.detach(p)
	}
	p.refs.Release()
}
