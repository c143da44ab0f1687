// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// Pool is one pool of one configuration.
type Pool struct {
	*backend.Pool

	// Set while it is provisioned, then read-only.
	app      *App
	named    bool
	identity string // of the checks
	scheme   string
	guard    bool // against common causes
	limit    int  // max_requests of those that are discovered
	watcher  *watcher
	checks   []check
	sources  []*source
	leases   lease.Leases // of the sources' answers, and of the tally

	mu         sync.Mutex // held while members change; guards what follows
	configured []*member
	discovered map[string]*member // by address
	refused    map[string]bool    // addresses that were discovered but cannot be used
	running    bool
	released   bool
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
	p.LeaseTally(&p.leases)
	p.limit = cfg.MaxRequests
	p.guard = cfg.Guard == nil || *cfg.Guard
	p.watcher = newWatcher(p)
	p.discovered, p.refused = make(map[string]*member), make(map[string]bool)
	for _, s := range settings {
		m, err := p.newMember(s)
		if err != nil {
			return err
		}
		p.configured = append(p.configured, m)
	}
	p.merge()
	return nil
}

// useTLS has the members probed with TLS, because a proxy speaks TLS to them
// though their addresses do not say so. It must be called before start.
func (p *Pool) useTLS() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scheme = "https"
	for _, m := range p.members() {
		for _, u := range m.users {
			u.Target.Scheme = p.scheme
		}
	}
}

// start begins to probe the members and to discover more.
func (p *Pool) start() {
	p.mu.Lock()
	if before := backend.Active(p.Name); before != nil {
		p.watcher.panic = before.View().Panic
	}
	p.Activate()
	p.running = true
	members := p.members()
	if p.Rules().Outliers == nil {
		for _, m := range members {
			m.Pardon() // nobody would end what an earlier configuration began
		}
	}
	p.Publish() // verdicts may have changed since the pool was built
	p.watcher.settle(p, members)
	startAll(members)
	p.mu.Unlock()
	p.watcher.Start(p)
	for _, s := range p.sources {
		s.discovery.Start(s)
	}
}

// await waits until every source has been asked once, or patience ends.
func (p *Pool) await(patience <-chan struct{}) {
	for _, s := range p.sources {
		select {
		case <-s.discovery.asked:
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
	p.watcher.Stop(p)
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
	p.leases.Release()
}

// members returns all members; the caller must hold p.mu.
func (p *Pool) members() []*member {
	all := slices.Clone(p.configured)
	for _, m := range p.discovered {
		all = append(all, m)
	}
	slices.SortFunc(all[len(p.configured):], func(a, b *member) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// merge brings the discovered members in line with what the sources have
// found. An address that is configured, or found before, is not added again.
func (p *Pool) merge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	known, ids := make(map[string]bool), make(map[string]bool)
	for _, m := range p.configured {
		known[m.Address], ids[m.ID] = true, true
	}
	var joined, left []*member
	for _, s := range p.sources {
		for _, f := range s.discovery.answer() {
			if known[f.Address] {
				continue
			}
			known[f.Address] = true
			f.MaxRequests = p.limit
			if ids[f.ID] { // an id that was given to another
				f.ID = "discovered-" + f.ID
			}
			old := p.discovered[f.Address]
			if old != nil && old.Weight == f.Weight && old.Tier == f.Tier {
				continue
			}
			if m := p.join(f); m != nil {
				if old != nil {
					left = append(left, old)
				}
				p.discovered[f.Address] = m
				joined = append(joined, m)
			}
		}
	}
	for address, m := range p.discovered {
		if !known[address] {
			left = append(left, m)
			delete(p.discovered, address)
		}
	}
	members := p.members()
	all := make([]*backend.Backend, len(members))
	for i, m := range members {
		all[i] = m.Backend
	}
	p.SetMembers(backend.NewMembers(all))
	if p.running {
		startAll(joined)
	}
	for _, m := range left { // last, so that a member that changed keeps what is known of it
		m.stop()
		m.release()
	}
}

// join makes a member of a discovered backend, or says once why it cannot. The
// caller must hold p.mu.
func (p *Pool) join(s backend.Settings) *member {
	m, err := p.newMember(s)
	if err != nil {
		if !p.refused[s.Address] {
			p.refused[s.Address] = true
			p.app.logger.Error("a discovered address cannot be used",
				zap.String("pool", p.Name), zap.String("address", s.Address), zap.Error(err))
		}
		return nil
	}
	return m
}
