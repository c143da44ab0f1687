// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Pool is one pool of one configuration.
type Pool struct {
	*backend.Pool

	// Set while it is provisioned, then read-only.
	app      *App
	identity string // of the checks
	scheme   string
	guard    bool // against common causes
	limit    int  // max_requests of those that are discovered
	loop     *controlLoop
	checks   []check
	sources  []*source
	refs     shared.Refs        // of the sources' answers, the tally and the roster
	settings []backend.Settings // of the configured members
	digests  map[string]string  // what tells the settings of each address apart
	overlay  *overlay

	transport *proxyhook.Transport   // of its proxies, nil if there is none
	firstAt   caddyfileutil.Position // of the first of them

	mu       sync.Mutex         // held while members change; guards what follows
	current  map[string]*member // by address
	order    []*member          // the same, as they are shown
	refused  map[string]bool    // addresses that cannot be used
	running  bool
	released bool
}

// provision builds the pool, with what earlier configurations have learned.
func (p *Pool) provision(ctx caddy.Context, cfg *Config) error {
	settings, scheme, err := cfg.resolve()
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
	p.SetRules(rules)
	p.ShareCounters(&p.refs)
	p.limit = cfg.MaxRequests
	p.guard = cfg.Guard == nil || *cfg.Guard
	p.loop = newControlLoop(p)
	p.current, p.refused = make(map[string]*member), make(map[string]bool)
	p.settings, p.digests = settings, make(map[string]string)
	for _, s := range settings {
		p.digests[s.Address] = digestOf(s)
	}
	p.SetManager(p)
	p.attachOverlay()
	if err := p.addConfigured(); err != nil {
		return err
	}
	p.reconcile()
	return nil
}

// start begins to probe the members and to discover more.
func (p *Pool) start() {
	p.mu.Lock()
	if before := backend.Current(p.Name); before != nil {
		p.loop.panic = before.View().Panic
	}
	p.Activate()
	p.running = true
	members := p.members()
	if p.Rules().Outliers == nil {
		for _, m := range members {
			m.Uneject() // nobody would end what an earlier configuration began
		}
	}
	p.Publish() // verdicts may have changed since the pool was built
	p.loop.adopt(p, members)
	startAll(members)
	p.mu.Unlock()
	p.overlay.start(p)
	p.loop.Start(p)
	for _, s := range p.sources {
		s.discovery.Start(s)
	}
}

// await waits until every source has been asked once, or patience ends.
func (p *Pool) await(patience <-chan struct{}) {
	for _, s := range p.sources {
		select {
		case <-s.discovery.firstAnswer:
		case <-patience:
			return
		}
	}
}

// stop ends what start began and waits for it.
func (p *Pool) stop() {
	for _, s := range p.sources {
		s.discovery.Stop(s)
	}
	p.mu.Lock()
	p.running = false
	for _, m := range p.members() {
		m.stop()
	}
	p.Deactivate()
	p.mu.Unlock()
	p.overlay.stop(p)
	p.loop.Stop(p)
}

// release gives back what the pool leased. The pool keeps its last view, for
// requests that are still on their way.
func (p *Pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	for _, m := range p.members() {
		m.release()
	}
	if p.overlay != nil { // else it was not provisioned that far
		p.overlay.detach(p)
	}
	p.refs.Release()
}
