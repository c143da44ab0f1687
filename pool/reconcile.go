// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// desiredMember is a backend that should be in the pool.
type desiredMember struct {
	backend.Endpoint
	origin   membership.Origin
	verified bool // as in membership.Addition
}

// digestOf returns a digest of the settings of a backend.
func digestOf(s backend.Endpoint) string {
	text, _ := json.Marshal(s)
	return digest(string(text))
}

// same reports whether two settings of one address are equal.
func same(a, b *backend.Endpoint) bool {
	return reflect.DeepEqual(a.Settings, b.Settings)
}

// desired returns the backends that should be in the pool: configured, added at run time, and discovered ones, in this
// order. Of several with the same address, the first counts. Backends removed at run time are left out.
func (p *Pool) desired() (all []desiredMember) {
	added, removed := p.overlay.list()
	known, ids := make(map[string]bool), make(map[string]bool)
	add := func(s backend.Endpoint, origin membership.Origin, prefix string, verified bool) {
		if known[s.Address] {
			return
		}
		if ids[s.ID] && prefix != "" { // another backend has the id
			if s.ID = s.Address; ids[s.ID] {
				s.ID = prefix + s.ID
			}
		}
		known[s.Address], ids[s.ID] = true, true
		all = append(all, desiredMember{s, origin, verified})
	}
	for _, s := range p.endpoints {
		if was, ok := removed[s.Address]; !ok || was != p.digests[s.Address] && !p.overlay.isUnseen(s.Address) {
			add(s, membership.Configured, "", false)
		}
	}
	for _, a := range added {
		origin := membership.Added
		if a.registered {
			origin = membership.Registered
		}
		add(a.Endpoint, origin, "added-", a.verified)
	}
	rest := len(all)
	for _, s := range p.sources {
		for _, f := range s.discovery.endpoints() {
			if _, ok := removed[f.Address]; ok {
				continue
			}
			f.MaxRequests, f.MaxRequestsFleet, f.Group = &p.limit, p.limitFleet, s.group
			add(f, membership.Discovered, "discovered-", false)
		}
	}
	slices.SortFunc(all[rest:], func(a, b desiredMember) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

// addConfigured creates the configured members. It returns the error of the first invalid one. Other members may join
// at the same time, since the pool is already attached to the overlay.
func (p *Pool) addConfigured() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.desired() {
		if w.origin != membership.Configured || p.current[w.Address] != nil {
			continue
		}
		m, err := p.newMember(w.Endpoint, false)
		if err != nil {
			return err
		}
		m.origin = w.origin
		p.current[w.Address] = m
		p.order = append(p.order, m)
	}
	return nil
}

// reconcile adds, replaces and removes members until they are the desired ones. It may be called at any time.
func (p *Pool) reconcile() {
	for _, b := range p.reconcileMembers() {
		p.ForgetSessions(b)
	}
}

// reconcileMembers does the work of reconcile. It returns the backends that were replaced by another instance at the
// same address.
func (p *Pool) reconcileMembers() (replaced []*backend.Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil
	}
	var departed []*member
	p.order = nil
	desired := make(map[string]bool)
	for _, w := range p.desired() {
		m := p.current[w.Address]
		if m == nil || !same(&m.Endpoint, &w.Endpoint) {
			next := p.join(&w)
			switch {
			case next != nil:
				if m != nil {
					departed = append(departed, m)
					if m.Instance != next.Instance {
						replaced = append(replaced, m.Backend)
					}
				}
				m = next
				p.current[w.Address] = m
			case m == nil:
				continue
			}
		}
		m.origin = w.origin
		m.Resolve(w.Resolved)
		m.SetDraining(w.Draining)
		desired[w.Address] = true
		p.order = append(p.order, m)
	}
	for address, m := range p.current {
		if !desired[address] {
			departed = append(departed, m)
			delete(p.current, address)
		}
	}
	p.chooseSubset()
	all := make([]*backend.Backend, len(p.order))
	for i, m := range p.order {
		all[i] = m.Backend
	}
	p.SetMembers(pool.NewMembers(all))
	if p.running {
		p.startUsed()
		p.overlay.pruneRemoved(p)
	}
	for _, m := range departed { // last, so that a replaced member keeps its state
		m.stop()
		p.overlay.retire(m)
		m.release(true)
	}
	return replaced
}

// members returns all members. The caller must hold p.mu.
func (p *Pool) members() []*member { return slices.Clone(p.order) }

// join creates a member for a discovered or added backend. If the backend is invalid, it returns nil, and logs that
// once. The caller must hold p.mu.
func (p *Pool) join(w *desiredMember) *member {
	s := w.Endpoint
	m, err := p.newMember(s, p.mustPass(w))
	if err != nil {
		if !p.refused[s.Address] {
			if len(p.refused) == maxIgnored { // a source may find others all the time
				clear(p.refused)
			}
			p.refused[s.Address] = true
			p.app.logger.Error("backend is invalid and ignored",
				zap.String("pool", p.Name), zap.String("address", clip.Text(s.Address)), zap.Error(clip.Error(err)))
		}
		return nil
	}
	if p.GroupOf(m.Backend) == group.Unknown {
		p.app.logger.Warn("the pool has no group of this name any more; the backend gets no requests", zap.String("pool", p.Name),
			zap.String("backend", m.ID), zap.String("address", m.Address), zap.String("group", m.Group))
	}
	return m
}
