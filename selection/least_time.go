// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/dispense"
)

func init() { caddy.RegisterModule(new(LeastTime)) }

// LeastTime picks, of all backends, the one with the lowest average latency x
// (in flight + 1) / weight. It finds the best where peak_ewma finds a good one,
// at a cost that grows with the pool. Prefer it in pools of up to some hundreds.
//
// Failures count as with peak_ewma.
type LeastTime struct {
	// By is the latency to compare: "header", the time to the header of a
	// response; "last_byte", to its end; "probe", the time of the pool's health
	// checks alone, whatever requests take. Default: header.
	By string `json:"by,omitempty"`

	Adapter
}

// CaddyModule returns the Caddy module information.
func (*LeastTime) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "least_time", New: func() caddy.Module { return new(LeastTime) }}
}

// latencies are the ways to tell a backend's latency in nanoseconds; nil is
// that of its probes.
var latencies = map[string]func(s *backend.State) *backend.EWMA{
	"header":    func(s *backend.State) *backend.EWMA { return &s.Header },
	"last_byte": func(s *backend.State) *backend.EWMA { return &s.Body },
	"probe":     nil,
}

// Provision sets up the policy.
func (p *LeastTime) Provision(ctx caddy.Context) error {
	if p.By == "" {
		p.By = "header"
	}
	if _, ok := latencies[p.By]; !ok {
		return fmt.Errorf("by must be header, last_byte or probe, got %q", p.By)
	}
	if err := p.provision(ctx, "least_time", p); err != nil {
		return err
	}
	if proxy := p.list.proxy; p.By == "probe" && proxy != nil && proxy.FixedUpstreams() > 0 {
		return errors.New("least_time probe needs a pool, whose probes it goes by; write `dynamic pool` with `health`, or least_time header")
	}
	return nil
}

// UsePool implements [attach.PoolUser].
func (p *LeastTime) UsePool(pool *backend.Pool) error {
	if p.By == "probe" && !pool.Probed() {
		return fmt.Errorf("least_time probe needs probes; write `health` in the pool, or least_time header")
	}
	return p.Adapter.UsePool(pool)
}

func (p *LeastTime) prepare(g group) picker {
	f := &fastest{alias: newAlias(g.weights), inverse: inverses(g.weights)}
	if of := latencies[p.By]; of != nil {
		for _, s := range g.states {
			f.averages = append(f.averages, of(s))
		}
	}
	return f
}

type fastest struct {
	*alias
	inverse  []float64       // of the weights
	averages []*backend.EWMA // nil: those of the probes
}

func (f *fastest) pick(c candidates, _ *http.Request) int {
	// A view has only eligible backends, which are not asked again one by one:
	// only the best is, and all of them only if it was not.
	if c.list == nil && f.averages != nil {
		if i := f.scanView(c.hosts); c.usable(i) {
			return i
		}
	}
	return f.scan(&c)
}

// scanView returns the index of the lowest cost, the first from a random one on,
// so that none gains by its position and ties go by weight.
func (f *fastest) scanView(hosts []*reverseproxy.Host) int {
	reader, start := backend.ReadAt(backend.Now()), f.draw()
	best, least := start, never
	for _, part := range [2][2]int{{start, len(hosts)}, {0, start}} {
		for i := part[0]; i < part[1]; i++ {
			if at := cost(reader.Value(f.averages[i]), hosts[i].NumRequests(), f.inverse[i]); at < least {
				best, least = i, at
			}
		}
	}
	return best
}

// scan is scanView of usable candidates; -1 if there is none.
func (f *fastest) scan(c *candidates) int {
	now, n := backend.Now(), c.len()
	reader, best, least := backend.ReadAt(now), -1, never
	for k, i := 0, f.draw(); k < n; k, i = k+1, (i+1)%n {
		var latency float64
		if f.averages != nil {
			latency = reader.Value(f.averages[i])
		} else if latency = c.backends[i].ProbeTime(now); latency == 0 {
			latency = unknown // a request would not tell
		}
		if at := cost(latency, c.inFlight(i), f.inverse[i]); at < least && c.usable(i) {
			best, least = i, at
		}
	}
	return best
}

func (f *fastest) peek() picker { return f }

// score implements [picker]: the cost; the least wins.
func (f *fastest) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	now, latency := backend.Now(), 0.0
	if f.averages != nil {
		latency = backend.ReadAt(now).Value(f.averages[i])
	} else if latency = c.backends[i].ProbeTime(now); latency == 0 {
		latency = unknown
	}
	return costScore(c, i, latency, f.inverse[i])
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy least_time [header|last_byte|probe] {
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *LeastTime) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	dispense.Head(d, &p.By)
	if _, ok := latencies[p.By]; !ok && p.By != "" {
		return d.Errf("least_time must be header, last_byte or probe, got %q", p.By)
	}
	return p.unmarshal(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LeastTime)(nil)
	_ reverseproxy.Selector = (*LeastTime)(nil)
	_ caddyfile.Unmarshaler = (*LeastTime)(nil)
	_ algorithm             = (*LeastTime)(nil)
)
