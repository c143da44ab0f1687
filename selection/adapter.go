// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// namespace is the Caddy namespace of selection policies.
const namespace = "http.reverse_proxy.selection_policies."

// algorithm is the part of a policy that builds its pickers.
type algorithm interface {
	// prepare returns a picker for a group of backends. It runs off the request path where that
	// is possible.
	prepare(g group) picker
}

// picker picks among the backends it was prepared for. It must be safe for concurrent use and
// must not allocate.
type picker interface {
	// pick returns the index of a usable candidate for the request, or -1 if there is none. The
	// candidates are the group that the picker was prepared for.
	pick(c candidates, r *http.Request) int
	// peek returns a picker that makes one pick as this one would, without changing this one.
	peek() picker
	// score returns the criteria for candidate i, by name.
	score(c *candidates, i int, r *http.Request) map[string]float64
}

// group is a set of backends that share requests: a tier of a pool's view, or a list of
// upstreams. Weights are not negative and not all zero. A backend with weight zero is never
// usable.
type group struct {
	backends []*backend.Backend
	weights  []float64
	// settled are the weights after the slow start, and ramps the current factors of slow start.
	// ramps is nil if no backend is in its slow start.
	settled, ramps []float64
	// states make scans of all backends faster: one memory access for each backend, instead of
	// several through the backend.
	states []*backend.State
}

func newGroup(backends []*backend.Backend, weights, ramps []float64) group {
	g := group{backends: backends, weights: weights, settled: weights, ramps: ramps}
	if ramps != nil {
		g.settled = make([]float64, len(weights))
		for i, w := range weights {
			g.settled[i] = w / ramps[i]
		}
	}
	for _, b := range backends {
		g.states = append(g.states, b.State)
	}
	return g
}

// Adapter makes a Caddy selection policy of an algorithm. In a pool it picks from the pool's
// view and ignores the list of upstreams. Without a pool it keeps a view of that list, by
// content, and Caddy decides which upstreams are available. Select does not allocate.
type Adapter struct {
	// Weights are the weights of the upstreams of a plain list, by position, each at most
	// 65535. An upstream with weight 0 gets no requests. In a list that changes, upstreams
	// beyond the last weight have weight 1. The backends of a pool have their own weights instead.
	// Default: 1 each.
	Weights []int `json:"weights,omitempty"`
	// Position is the file and line of `weights` in the Caddyfile, for errors. The Caddyfile
	// adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	algorithm algorithm
	policy    any // name of the policy, boxed once for placeholders
	pool      *pool.Pool
	list      list
	waits     bool // whether a request waits for the backend of its key while that backend is full

	derived atomic.Pointer[derived]
}

// derived is the result of preparing a view. It is read-only.
type derived struct {
	view    *pool.View
	shared  *backend.Shared
	groups  []group // one for each tier
	pickers []picker
	others  []*derived // results for the pool's groups other than the main one
}

// of returns the part of the result for a group of the pool, by index; 0 is the main group.
func (d *derived) of(group int) *derived {
	if group == 0 {
		return d
	}
	return d.others[group-1]
}

// derive prepares the pickers of one group of the pool.
func (a *Adapter) derive(v *pool.View, group int) *derived {
	v = v.Of(group)
	d := &derived{view: v, shared: a.pool.Shared(group)}
	for _, t := range v.Tiers {
		g := newGroup(t.Backends, t.Weights, t.Ramps)
		d.groups = append(d.groups, g)
		d.pickers = append(d.pickers, a.algorithm.prepare(g))
	}
	return d
}

// provision prepares the adapter to run an algorithm under the given name.
func (a *Adapter) provision(ctx caddy.Context, name string, alg algorithm) error {
	a.algorithm, a.policy = alg, name
	a.list.algorithm, a.list.weights = alg, a.Weights
	proxy, err := proxyhook.To(ctx)
	if err == nil {
		err = a.Position.Wrap(a.checkWeights(proxy))
	}
	if proxy == nil || err != nil {
		return err
	}
	a.list.proxy = proxy
	proxy.UseList(&a.list)
	return nil
}

// checkWeights returns an error if the weights of a proxy's list are invalid. proxy may be nil.
func (a *Adapter) checkWeights(proxy *proxyhook.Proxy) error {
	sum := 0
	for _, w := range a.Weights {
		if err := backend.Weights.Check("weights", w); err != nil {
			return err
		}
		sum += w
	}
	if len(a.Weights) > 0 && sum == 0 {
		return errors.New("weights must not all be 0, or no upstream takes requests")
	}
	if proxy == nil || len(a.Weights) == 0 {
		return nil
	}
	if n := proxy.FixedUpstreams(); n > 0 && n != len(a.Weights) {
		return fmt.Errorf("weights must be one for each of the %d upstreams, got %d", n, len(a.Weights))
	}
	return nil
}

// UsePool implements [proxyhook.PoolUser].
func (a *Adapter) UsePool(p *pool.Pool) error {
	if a.algorithm == nil {
		return errNotSetUp
	}
	if len(a.Weights) > 0 {
		return a.Position.Wrap(errors.New("weights do not apply to a pool; write `weight` in the pool's `backend` blocks instead"))
	}
	a.pool = p
	name, _ := a.policy.(string)
	p.Explain(name, a.explain)
	p.Subscribe(func(v *pool.View) {
		d := a.derive(v, 0)
		for i := range p.Groups() {
			d.others = append(d.others, a.derive(v, i+1))
		}
		for {
			old := a.derived.Load()
			if old != nil && old.view.Generation > v.Generation || a.derived.CompareAndSwap(old, d) {
				return
			}
		}
	})
	return nil
}

// CheckConnections implements [connections.ConnectionPolicy]: weights and load need no request.
func (*Adapter) CheckConnections() error { return nil }

// Select implements [reverseproxy.Selector]. It returns nil if no backend can take the request;
// {http.ballast.reason} then has the reason.
func (a *Adapter) Select(upstreams reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	tried := proxyhook.Tried(r)
	if a.pool == nil {
		return a.selectFromList(upstreams, r, tried)
	}
	c, reason := a.reserve(r, tried)
	if c.Backend != nil {
		proxyhook.SetAttempt(r, c, a.policy, len(tried)+1)
		if k, ok := a.algorithm.(keyedAlgorithm); ok {
			if hash, ok := k.drawFor(r); ok {
				proxyhook.Bind(r, backend.KeyBound(hash))
			}
		}
		return &c.Backend.Upstream
	}
	return proxyhook.Refuse(r, a.list.proxy, a.pool, reason)
}

// reserve reserves a slot of a backend of the pool, or returns the reason why there is none.
func (a *Adapter) reserve(r *http.Request, tried []*backend.Backend) (backend.Permit, pool.Reason) {
	group := proxyhook.GroupOf(r, a.pool)
	choose := func() (c backend.Permit, reason pool.Reason) {
		if a.waits {
			if c, reason = a.reserveOwner(r, group, tried); reason != "" {
				return c, reason
			}
		}
		if c.Backend == nil && !a.pool.Saturated(group) {
			c = a.selectFromPool(r, group, tried)
		}
		return c, ""
	}
	return a.pool.Choose(r.Context(), group, tried, choose, func() *backend.Backend { return a.preferredBackend(r, group, tried) })
}

// selectFromPool prefers backends of the group that were not tried, of any tier, over those that
// were.
func (a *Adapter) selectFromPool(r *http.Request, group int, tried []*backend.Backend) backend.Permit {
	d, retry := a.derived.Load().of(group), len(tried) > 0
	first := 0
	if d.view.SpillsOver() {
		first = d.view.TierFor(a.draw(r))
	}
	for {
		if c := a.selectFromTiers(d, first, r, tried, retry); c.Backend != nil || tried == nil {
			return c
		}
		tried = nil
	}
}

func (a *Adapter) selectFromList(upstreams reverseproxy.UpstreamPool, r *http.Request, tries []*backend.Backend) *reverseproxy.Upstream {
	if len(upstreams) == 0 {
		return proxyhook.Refuse(r, a.list.proxy, nil, pool.ReasonEmpty)
	}
	v, tried := a.list.view(upstreams), tries
	for {
		c := candidates{group: v.group, list: upstreams, all: &a.list.shared, tried: tried, retry: len(tries) > 0}
		n := v.picker.pick(c, r)
		switch {
		case n >= 0 && upstreams[n].Dial != v.backends[n].Address:
			v = a.list.rebuild(upstreams) // other code has changed the list
		case n >= 0:
			proxyhook.SetAttempt(r, backend.Permit{Backend: v.backends[n]}, a.policy, len(tries)+1)
			return upstreams[n]
		case tried == nil:
			return proxyhook.Refuse(r, a.list.proxy, nil, pool.ReasonDown)
		default:
			tried = nil
		}
	}
}

// unmarshal parses the arguments and the block of a policy.
func (a *Adapter) unmarshal(d *caddyfile.Dispenser, opts caddyfileutil.Options) error {
	return a.options(opts).Parse(d)
}

// options adds the options that all policies have to those of one policy.
func (a *Adapter) options(opts caddyfileutil.Options) caddyfileutil.Options {
	if opts == nil {
		opts = caddyfileutil.Options{}
	}
	opts["weights"] = func(d *caddyfile.Dispenser) error {
		a.Position = caddyfileutil.PositionOf(d)
		var args []string
		if err := caddyfileutil.Strings(&args)(d); err != nil {
			return err
		}
		for _, arg := range args {
			n, err := backend.Weights.Parse("weights", arg)
			if err != nil {
				return d.WrapErr(err)
			}
			a.Weights = append(a.Weights, n)
		}
		return nil
	}
	return opts
}

// Interface guards
var (
	_ connections.ConnectionPolicy = (*Adapter)(nil)
)
