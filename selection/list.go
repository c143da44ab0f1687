// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// list keeps a view of the upstreams that a proxy without a pool passes to its policy. A fixed
// list is always the same slice and costs one comparison. A dynamic source makes new upstreams
// for each request, which are compared by address. It is safe for concurrent use.
type list struct {
	algorithm algorithm
	weights   []int
	proxy     *proxyhook.Proxy // nil without a proxy

	shared  backend.Shared
	current atomic.Pointer[listView]
	mu      sync.Mutex // held while a view is built
}

// listView is the result of preparing a list. It is read-only.
type listView struct {
	group
	first     **reverseproxy.Upstream // address of the first element of the list
	byAddress map[string]*backend.Backend
	picker    picker
}

// view returns the view of upstreams, which must not be empty.
func (l *list) view(upstreams reverseproxy.UpstreamPool) *listView {
	v := l.current.Load()
	if v != nil && len(v.backends) == len(upstreams) && (v.first == &upstreams[0] || v.same(upstreams)) {
		return v
	}
	return l.rebuild(upstreams)
}

// same compares the upstreams by address.
func (v *listView) same(upstreams reverseproxy.UpstreamPool) bool {
	for i, u := range upstreams {
		if u.Dial != v.backends[i].Address {
			return false
		}
	}
	return true
}

// rebuild builds a view of upstreams. Upstreams of the previous list keep their state.
func (l *list) rebuild(upstreams reverseproxy.UpstreamPool) *listView {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.current.Load()
	if old != nil && len(old.backends) == len(upstreams) && old.same(upstreams) {
		return old // a concurrent request has built it
	}
	v := &listView{
		first:     &upstreams[0],
		byAddress: make(map[string]*backend.Backend, len(upstreams)),
	}
	backends, weights := make([]*backend.Backend, len(upstreams)), make([]float64, len(upstreams))
	for i, u := range upstreams {
		b := l.find(old, u.Dial)
		if b == nil {
			b = backend.New("", backend.Endpoint{Address: u.Dial, Settings: backend.Settings{ID: u.Dial, Weight: new(1)}}, backend.NewState(), nil, nil)
			b.Share(&l.shared)
		}
		backends[i], v.byAddress[u.Dial] = b, b
		weights[i] = b.EffectiveWeight()
		if i < len(l.weights) {
			weights[i] = float64(l.weights[i])
		}
	}
	v.group = newGroup(backends, weights, nil)
	v.picker = l.algorithm.prepare(v.group)
	l.current.Store(v)
	return v
}

// find looks for a backend in the pool, for a policy that is the fallback of one of Caddy's
// policies, and in the previous view.
func (l *list) find(old *listView, address string) *backend.Backend {
	if l.proxy != nil && l.proxy.Pool() != nil {
		return l.proxy.Pool().Find(address)
	}
	if old != nil {
		return old.byAddress[address]
	}
	return nil
}

// Find implements [proxyhook.Finder].
func (l *list) Find(address string) *backend.Backend {
	if v := l.current.Load(); v != nil {
		return v.byAddress[address]
	}
	return nil
}
