// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
	"github.com/ballast-lb/caddy-ballast/internal/locality"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/mirror"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/retry"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
	"github.com/ballast-lb/caddy-ballast/internal/shortage"
	"github.com/ballast-lb/caddy-ballast/internal/slowstart"
)

// Pool is the members of one pool in one configuration, and the view of them. Safe for concurrent
// use.
type Pool struct {
	// Name is unique among the pools of a configuration.
	Name string
	// Unnamed reports that the configuration gives no name. Name is then generated, and may differ between
	// instances. It must be set before the pool is used.
	Unnamed bool
	// BasicMetrics limits the Prometheus metrics of the members to the basic series. It is set
	// before the pool is used.
	BasicMetrics bool
	// Ready waits, at the start of the process, until the pool has the changes of the fleet, or until ctx ends;
	// nil if there is nothing to wait for. It must be set before the pool is used.
	Ready func(ctx context.Context)

	view     atomic.Pointer[View]
	main     groupState
	groups   []*groupState // main first; read-only once there are members
	options  Options
	budget   *retry.Budget // nil for none
	hedges   *retry.Budget // of second attempts; nil for none
	counters *RequestCounters
	zones    *locality.Balances
	dirty    atomic.Bool

	shortage *shortage.Counter

	mu              sync.Mutex // guards the fields below
	members         *Members
	generation      uint64
	subscribers     []func(*View)
	wake            func()
	manager         membership.Manager
	sessionCounters []SessionCounter
	explainers      []namedExplainer
}

// Options are the rules for the members of a pool. Read-only.
type Options struct {
	// Outliers are the rules of ejection; nil for none.
	Outliers *outlier.Rules
	// SlowStart is how new and recovered members reach their full weight.
	SlowStart slowstart.Settings
	// Panic is the share of healthy members below which health is ignored; 0 for never.
	Panic float64
	// Spill is the overprovisioning factor, by which a tier is larger than its load needs: 1 or more, see
	// [tiers.DefaultSpill]. With 0, a tier gets all requests while it has a healthy backend.
	Spill float64
	// Locality is how requests are kept in the zone of this instance; nil for not at all.
	Locality *locality.Preference
	// Queue are the rules of the queue for requests while all members are full.
	Queue QueueRules
	// CloseOnDown closes the streams of a member that goes down or into maintenance.
	CloseOnDown bool
	// OrcaMetric is the name of the metric of load reports that is the utilization; "" for none.
	OrcaMetric string
	// Retry is when the pool makes further attempts for a request; nil for never.
	Retry *retry.RetryPolicy
	// Hedge is when a late request gets a second attempt; nil for never.
	Hedge *hedge.HedgePolicy
	// Mirror sends copies of requests to other backends; nil for none.
	Mirror *mirror.Mirror
	// Retries limit the retries; nil for no limit.
	Retries *retry.Rules
	// Groups are the groups beside the main one; nil for none.
	Groups group.List
	// MainCounts counts the outcomes of the main group, for the rollouts; nil without groups.
	MainCounts *rollout.Counts
	// Fallback is when a request that has failed in a group with a fallback is sent to the main group;
	// nil without one.
	Fallback *retry.RetryPolicy
}

// NewPool returns a pool without members.
func NewPool(name string) *Pool {
	p := &Pool{Name: name, members: NewMembers(nil), counters: new(RequestCounters), zones: new(locality.Balances), shortage: new(shortage.Counter)}
	p.main.own = p.members
	p.groups = []*groupState{&p.main}
	p.main.shared.SetOwner(p, nil)
	p.main.queue.pool = p
	p.view.Store(p.makeView())
	return p
}

// SetOptions sets the options. It must be called before the pool gets members.
func (p *Pool) SetOptions(o Options) {
	p.options, p.main.queue.rules = o, o.Queue
	p.main.shared.SetOwner(p, o.Outliers)
	p.setGroups(o.Groups, o.MainCounts)
	p.view.Store(p.makeView())
	if o.Retries != nil {
		p.budget = retry.NewBudget(*o.Retries)
	}
	if o.Hedge != nil {
		p.hedges = retry.NewBudget(retry.Rules{Ratio: o.Hedge.Max})
	}
}

// Await waits until the pool is ready for requests, or until ctx ends. Each request calls it before it
// looks at the pool.
func (p *Pool) Await(ctx context.Context) {
	if p.Ready != nil {
		p.Ready(ctx)
	}
}

// Options returns the options.
func (p *Pool) Options() Options { return p.options }

// ClosesOnDown reports whether the streams of a member are closed when it goes down.
func (p *Pool) ClosesOnDown() bool { return p.options.CloseOnDown }

// RetryPolicy returns when the pool makes further attempts for a request; nil for never.
func (p *Pool) RetryPolicy() *retry.RetryPolicy { return p.options.Retry }

// Mirror returns what sends copies of requests to other backends; nil for nothing.
func (p *Pool) Mirror() *mirror.Mirror { return p.options.Mirror }

// UpdateLocality updates the shares of the zones, and reports whether the view must change.
func (p *Pool) UpdateLocality(now time.Duration) (changed bool) {
	return p.options.Locality != nil && p.zones.Update(now, p.View().Members.Used, p.options.Locality)
}

// HomeShares returns the share of the requests of each tier of each group that stay at home; nil
// without [Options.Locality].
func (p *Pool) HomeShares() (all []locality.TierReport) {
	if p.options.Locality == nil {
		return nil
	}
	for i, part := range p.View().EachGroup() {
		for _, s := range p.zones.Report(p.GroupName(i)) {
			for _, t := range part.Tiers {
				if t.Level() == s.Level {
					s.Home = t.Home
				}
			}
			all = append(all, s)
		}
	}
	return all
}

// View returns the current view. It never blocks.
func (p *Pool) View() *View { return p.view.Load() }

// Find returns the member with the given dial address, or nil.
func (p *Pool) Find(address string) *backend.Backend { return p.View().Members.Find(address) }

// InFlight returns the attempts in flight on all members, except those of earlier configurations.
func (p *Pool) InFlight() (n int64) {
	for _, g := range p.groups {
		n += g.shared.InFlight()
	}
	return n
}

// Shared returns the state that the members of a group share.
func (p *Pool) Shared(group int) *backend.Shared { return &p.groups[group].shared }

// Fleet returns the fleet of the pool, or nil.
func (p *Pool) Fleet() *fleet.Fleet { return p.main.shared.Fleet() }

// Reporting reports whether a member has reported its load.
func (p *Pool) Reporting() bool {
	return slices.ContainsFunc(p.groups, func(g *groupState) bool { return g.shared.Reporting() })
}

// Probed reports whether the members have health checks. It is true for a pool without members,
// whose future members may have some.
func (p *Pool) Probed() bool {
	members := p.View().Members.All
	return len(members) == 0 || len(members[0].Statuses()) > 0
}

// SetMembers replaces the members and publishes a view of them.
func (p *Pool) SetMembers(members *Members) {
	for _, b := range members.All {
		b.Share(&p.group(b).shared)
		if p.options.Hedge != nil {
			b.TrackWaits()
		}
	}
	p.mu.Lock()
	p.members, p.main.own = members, members
	if len(p.groups) > 1 || slices.ContainsFunc(members.All, func(b *backend.Backend) bool { return b.Group != "" }) {
		p.divide()
	}
	p.mu.Unlock()
	p.Publish()
}

// Publish creates a new view and gives it to the subscribers. It must be called after a change of the eligibility
// or the weight of a member. Concurrent calls are coalesced: of the callers that wait for the lock, only the first
// creates a view.
func (p *Pool) Publish() {
	p.dirty.Store(true)
	p.mu.Lock()
	if !p.dirty.Swap(false) {
		p.mu.Unlock()
		return
	}
	for _, b := range p.members.All {
		b.ApplyMaxRequests()
		b.Condition()
	}
	for _, g := range p.groups {
		slowstart.Arrive(p.options.SlowStart, clock.Now(), g.own.All)
	}
	p.generation++
	v := p.makeView()
	p.view.Store(v)
	subscribers := slices.Clone(p.subscribers)
	p.mu.Unlock()
	for _, f := range subscribers {
		f(v)
	}
	for _, g := range p.groups {
		g.queue.viewChanged()
	}
}

// Subscribe calls f with the current view and with each new one, on the goroutine that publishes
// it. Calls may overlap and arrive out of order, so f must keep the view of the highest
// generation. A subscription cannot be cancelled: it lasts as long as the pool's configuration.
func (p *Pool) Subscribe(f func(*View)) {
	p.mu.Lock()
	p.subscribers = append(p.subscribers, f)
	v := p.view.Load()
	p.mu.Unlock()
	f(v)
}
