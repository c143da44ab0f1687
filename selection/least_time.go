// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(LeastTime)) }

// LeastTime picks, of all backends, the one with the lowest average latency x (in flight + 1) /
// weight. Backends within a fifth of it, with no more requests in flight, take turns. It compares
// all backends where peak_ewma compares two, at a cost that grows with the pool. Use it in pools of
// up to a few hundred backends.
//
// Failures count as with peak_ewma.
type LeastTime struct {
	// By is the latency to compare: "header", the time to the header of a response; "body", the
	// time to the first byte of its body, for backends that send the header before they work;
	// "last_byte", the time to its end; "probe", the time of the pool's health checks,
	// independent of requests. Default: header.
	By string `json:"by,omitempty"`
	// ByPosition is the file and line of the policy in the Caddyfile, for errors. The Caddyfile
	// adapter sets it.
	ByPosition caddyfileutil.Position `json:"by_position,omitempty"`

	Adapter
}

// CaddyModule returns the Caddy module information.
func (*LeastTime) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "least_time", New: func() caddy.Module { return new(LeastTime) }}
}

// latencies are the latencies of a backend to compare, in nanoseconds. For probe the function
// is nil.
var latencies = map[string]func(s *backend.State) *latency.EWMA{
	"header":    func(s *backend.State) *latency.EWMA { return &s.Header },
	"body":      func(s *backend.State) *latency.EWMA { return &s.Body },
	"last_byte": func(s *backend.State) *latency.EWMA { return &s.LastByte },
	"probe":     nil,
}

// latencyWords are the names of the latencies, the default first.
var latencyWords = caddyfileutil.Words{"header", "body", "last_byte", "probe"}

// Provision sets up the policy.
func (p *LeastTime) Provision(ctx caddy.Context) error {
	if p.By == "" {
		p.By = latencyWords[0]
	}
	if err := latencyWords.Check("least_time's by", p.By); err != nil {
		return err
	}
	if err := p.provision(ctx, "least_time", p); err != nil {
		return err
	}
	if proxy := p.list.proxy; p.By == "probe" && proxy != nil && proxy.FixedUpstreams() > 0 {
		return p.ByPosition.Wrap(errors.New("least_time probe needs a pool with health checks; write `dynamic pool` with `health`, or least_time header"))
	}
	return nil
}

// UsePool implements [proxyhook.PoolUser].
func (p *LeastTime) UsePool(pool *pool.Pool) error {
	if p.By == "probe" && !pool.Probed() {
		return p.ByPosition.Wrap(errors.New("least_time probe needs health checks; write `health` in the pool, or least_time header"))
	}
	return p.Adapter.UsePool(pool)
}

// CheckConnections implements [connections.ConnectionPolicy]: a connection has no response. The time
// to the header is the time to connect.
func (p *LeastTime) CheckConnections() error {
	if p.By == "body" || p.By == "last_byte" {
		return p.ByPosition.Wrap(fmt.Errorf("least_time %s needs responses, which a connection has none of; write least_time for the time to connect, or least_time probe", p.By))
	}
	return nil
}

func (p *LeastTime) prepare(g group) picker {
	f := &leastTimePicker{alias: newAlias(g.weights), inverse: inverses(g.settled), even: equal(g.settled)}
	f.shuffle()
	if average := latencies[p.By]; average != nil {
		for _, s := range g.states {
			f.averages = append(f.averages, average(s))
		}
	}
	return f
}

type leastTimePicker struct {
	*alias
	inverse  []float64       // of the weights; full weights during slow start
	averages []*latency.EWMA // nil: latency of the probes
	even     bool            // whether all weights are equal
	rotation
}

func (f *leastTimePicker) pick(c candidates, _ *http.Request) int {
	turns, start := f.next(&c), 0
	if f.even {
		start = int((turns.Add(1) - 1) % uint64(f.n))
	} else {
		start = f.draw() // ties go by weight
	}
	// A view has only eligible backends, so the scan does not check them one by one. It checks
	// only the best, and scans usable candidates only if that one is not usable.
	i := -1
	if c.list == nil && f.averages != nil && c.ramps == nil {
		i = f.scanView(&c, start)
	}
	if i < 0 || !c.usable(i) {
		i = f.scan(&c, start)
	}
	if f.even && i > start {
		turns.Add(uint64(i - start)) // skip the turns of the skipped backends
	} else if f.even && i >= 0 && i < start {
		turns.Add(uint64(f.n + i - start))
	}
	return i
}

// scanView returns the index of the lowest cost. Among costs that count as equal, the first
// from start on wins.
func (f *leastTimePicker) scanView(c *candidates, start int) int {
	states := c.states
	reader := latency.NewReader(clock.Now())
	best, least, load := 0, never, 0.0
	for i, s := range states {
		n := s.InFlight()
		if score := cost(reader.Value(f.averages[i])+s.Penalty(), float64(n), f.inverse[i]); score < least {
			best, least, load = i, score, float64(n)*f.inverse[i]
		}
	}
	for _, part := range [2][2]int{{start, len(states)}, {0, start}} {
		for i := part[0]; i < part[1]; i++ {
			n := states[i].InFlight()
			if float64(n)*f.inverse[i] <= load && cost(reader.Value(f.averages[i])+states[i].Penalty(), float64(n), f.inverse[i]) <= tie*least {
				return i
			}
		}
	}
	return best // concurrent requests have raised the load of all candidates
}

// scan is scanView for usable candidates; -1 if there is none. It skips a backend in its slow
// start with a probability according to its ramp, unless there is no other.
func (f *leastTimePicker) scan(c *candidates, start int) int {
	if c.ramps != nil {
		if i := f.scanFrom(c, start, weakrand.Float64()); i >= 0 {
			return i
		}
	}
	return f.scanFrom(c, start, 0)
}

// scanFrom is scan for the backends whose ramps have reached at least ramp.
func (f *leastTimePicker) scanFrom(c *candidates, start int, ramp float64) int {
	now := clock.Now()
	best, least, load := -1, never, 0.0
	for i := range f.n {
		if ramp > 0 && c.ramps[i] < ramp {
			continue
		}
		if score := cost(f.latency(c, i, now), c.queue(i), f.inverse[i]); score < least && c.usable(i) {
			best, least, load = i, score, c.queue(i)*f.inverse[i]
		}
	}
	for k := range f.n {
		i := start + k
		if i >= f.n {
			i -= f.n
		}
		if ramp > 0 && c.ramps[i] < ramp {
			continue
		}
		n := c.queue(i)
		if n*f.inverse[i] <= load && cost(f.latency(c, i, now), n, f.inverse[i]) <= tie*least && c.usable(i) {
			return i
		}
	}
	return best
}

// latency returns the latency of candidate i in nanoseconds.
func (f *leastTimePicker) latency(c *candidates, i int, now time.Duration) float64 {
	if f.averages != nil {
		return latency.NewReader(now).Value(f.averages[i]) + c.states[i].Penalty()
	}
	if latency := c.backends[i].ProbeTime(now); latency > 0 {
		return latency
	}
	return unknown // requests do not measure the latency of probes
}

// peek implements [picker]. The picker begins at a random turn, so that explanations show
// probabilities instead of turns.
func (f *leastTimePicker) peek() picker {
	next := &leastTimePicker{alias: f.alias, inverse: f.inverse, averages: f.averages, even: f.even}
	next.shuffle()
	return next
}

// score implements [picker]: the cost. The lowest wins.
func (f *leastTimePicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	return costScore(c, i, f.latency(c, i, clock.Now()), f.inverse[i])
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy least_time [header|body|last_byte|probe] {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *LeastTime) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &p.By)
	p.ByPosition = caddyfileutil.PositionOf(d)
	if err := latencyWords.Check("least_time's by", p.By); err != nil {
		return d.WrapErr(err)
	}
	return p.unmarshal(d, caddyfileutil.Options{}.Hint(map[string]string{"by": "write lb_policy least_time header|body|last_byte|probe, without a block"}))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LeastTime)(nil)
	_ reverseproxy.Selector = (*LeastTime)(nil)
	_ caddyfile.Unmarshaler = (*LeastTime)(nil)
	_ algorithm             = (*LeastTime)(nil)
)
