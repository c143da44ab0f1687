// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/backend/traffic"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// rateSince is the start of the process, for rates in its first minute.
func rateSince() time.Duration { return clock.Now() - clock.Uptime() }

// OfPool returns the report of a pool. It reads counters and holds no lock.
func OfPool(p *pool.Pool) PoolReport {
	view := p.View()
	healthy, serving := healthy(view)
	out := PoolReport{Name: p.Name, Reason: reason(p), Healthy: healthy, Serving: serving, Panic: len(p.InPanic()) > 0, Policies: p.Policies(), States: make(map[string]int), Backends: []BackendReport{}}
	poolTotals := p.Totals()
	if size := p.Options().Queue.Size; size > 0 {
		out.Queue = &QueueReport{Size: size * len(view.EachGroup()), Waiting: poolTotals.Waiting, Queued: poolTotals.Queued}
	}
	out.Mirror = mirrorOf(p)
	out.Refused = refused(poolTotals)
	out.Locality, out.Groups = localityOf(p), OfGroups(p)
	out.Responses, out.Errors = responses(backend.Totals{}), errors(backend.Totals{})
	var connections traffic.ConnectionTotals
	if m := p.Manager(); m != nil {
		out.Sources = sources(m.Sources())
	}
	for _, b := range view.Members.All {
		one := OfBackend(p, b)
		out.Backends = append(out.Backends, one)
		out.States[one.State]++
		out.Requests += one.Requests
		sum(out.Responses, one.Responses)
		sum(out.Errors, one.Errors)
		connections.Add(b.Traffic.Totals())
	}
	out.Connections = ofConnections(connections)
	return out
}

func localityOf(p *pool.Pool) (all []LocalityReport) {
	for _, s := range p.HomeShares() {
		all = append(all, LocalityReport{
			Group: s.Group, Tier: s.Tier, Backup: s.Backup, Home: s.Home, HomeUtilization: s.HomeUtilization, AbroadUtilization: s.AbroadUtilization,
		})
	}
	return all
}

// OfBackend returns the report of a backend of a pool.
func OfBackend(p *pool.Pool, b *backend.Backend) BackendReport {
	c, f, t := membership.Condition(p.Manager(), b), b.Factors(), b.Totals()
	out := BackendReport{
		Settings: b.Settings, Address: b.Address, State: c.State, Reason: c.Reason, Since: c.Since, Unused: b.Unused(), Admin: b.AdminState().String(),
		Tier: b.Tier, Weight: f.Configured * f.Operator, EffectiveWeight: f.Weight(), MaxRequests: b.Limit(),
		Factors: map[string]float64{
			"configured": f.Configured, "operator": f.Operator, "agent": f.Agent, "reported": f.Reported, "slow_start": f.SlowStart,
		},
		InFlight: b.InFlight(), Requests: t.Requests, ClientGone: t.ClientGone, Ejections: b.Ejections(),
		Rate: b.Histogram.Rate(clock.Now(), rateSince()), Responses: responses(t), Latency: latency(b),
		Errors: errors(t), Idle: idle(b), Connections: ofConnections(b.Traffic.Totals()),
	}
	out.Why, out.Failing = whyLittle(p, b, c.State), math.Round(100*b.FailingShare())/100
	downs, downFor := b.Outages.Down()
	out.Downs, out.DownFor = downs, downFor.Seconds()
	if m := p.Manager(); m != nil {
		out.Origin = string(m.Origin(b.Address))
		out.Checks = checks(m.Checks(), b.Statuses())
		out.ForAddress = m.ForAddress(b.Address)
	}
	out.Sessions = OfSessions(p.Sessions(b))
	if w, n := b.OperatorWeight(), b.OperatorMaxRequests(); w != nil || n != nil {
		out.Overrides = &Overrides{MaxRequests: n}
		if w != nil {
			out.Overrides.Weight = &w.Value
		}
	}
	if limit, share, ok := b.FleetLimit(); ok {
		out.FleetLimit = &FleetLimit{MaxRequests: limit, Share: share}
	}
	if c.State == backend.StateDrain || c.State == backend.StateMaint {
		out.Drain = &Drain{Requests: out.InFlight, Sessions: out.Sessions, Idle: out.Idle}
		out.Drain.Safe = p.Drained(b)
		if m := p.Manager(); m != nil {
			out.Drain.Fleet = m.FleetDrain(b)
		}
	}
	if out.Drain != nil || out.EffectiveWeight <= 0 {
		out.Warning = Unserved(p)
	} else {
		out.Warning = unusedWeight(b)
	}
	return out
}

// unusedWeight warns that the operator's weight of a backend has no effect on its share; empty for
// no warning.
func unusedWeight(b *backend.Backend) string {
	w, by := b.OperatorWeight(), b.WeightReplacedBy()
	if w == nil || w.Relative || by == "" {
		return ""
	}
	return fmt.Sprintf("the weight %g has no effect on the backend's share of the requests, which follows %s; only weight 0 has", w.Value, by)
}

// OfSessions returns the number of sessions of a backend. It returns nil if no policy keeps
// sessions, and while it is not known whether there are any.
func OfSessions(c pool.SessionCount) *int {
	if !c.HasSessions || c.Known == 0 && !c.Complete {
		return nil
	}
	return &c.Known
}

func sources(states []membership.SourceState) (all []SourceReport) {
	for _, s := range states {
		one := SourceReport{Source: s.Name, Backends: s.Backends, Ignored: s.Ignored}
		if s.Error != nil {
			one.Error = s.Error.Error()
		}
		if !s.Since.IsZero() {
			one.Since = &s.Since
		}
		all = append(all, one)
	}
	return all
}

func checks(names []string, statuses []*health.Status) (all []CheckReport) {
	for i, v := range statuses {
		r := v.Report()
		c := CheckReport{Up: r.Up, Held: v.Suppressed() && !v.Passing(), Passes: r.Passes, Fails: r.Fails, Error: r.LastError, Time: v.MeanDuration().Seconds()}
		if !r.Ended.IsZero() {
			c.Latest, c.At = r.Latest.Seconds(), &r.Ended
		}
		if i < len(names) {
			c.Check = names[i]
		}
		all = append(all, c)
	}
	return all
}

// badStatus is the key in errors of complete responses that mean a failure of the backend.
const badStatus = "status"

// errors returns the number of failed attempts by kind.
func errors(t backend.Totals) map[string]int64 {
	all := map[string]int64{badStatus: t.BadStatus}
	for failure, n := range t.Failures {
		all[failure.String()] = n
	}
	return all
}

// failed returns the number of failed attempts of all kinds.
func failed(t backend.Totals) int64 { return t.BadStatus + total(t.Failures) }

// total returns the sum of counts.
func total[K comparable](counts map[K]int64) (n int64) {
	for _, one := range counts {
		n += one
	}
	return n
}

// sum adds one to all.
func sum(all, one map[string]int64) {
	for key, n := range one {
		all[key] += n
	}
}

func refused(t pool.RequestTotals) map[string]int64 {
	reasons := make(map[string]int64)
	for reason, n := range t.Refused {
		reasons[string(reason)] = n
	}
	return reasons
}

func responses(t backend.Totals) map[string]int64 {
	classes := make(map[string]int64)
	for class := 1; class < len(t.Responses); class++ {
		classes[strconv.Itoa(class)+"xx"] = t.Responses[class]
	}
	return classes
}

// latency returns quantiles in seconds.
func latency(b *backend.Backend) map[string]float64 {
	out := make(map[string]float64)
	names, shown := []string{"p50", "p95", "p99"}, []float64{0.5, 0.95, 0.99}
	for i, d := range b.Histogram.Quantiles(clock.Now(), shown...) {
		if d > 0 {
			out[names[i]] = d.Seconds()
		}
	}
	return out
}

// idle returns for how long a backend has had neither a request nor a response, in seconds; nil
// if it has never answered.
func idle(b *backend.Backend) *float64 {
	seconds := 0.0
	if answeredAt := b.Progress().AnsweredAt; !b.InUse() {
		if answeredAt == 0 {
			return nil
		}
		seconds = max(0, (clock.Now() - answeredAt).Seconds())
	}
	return &seconds
}
