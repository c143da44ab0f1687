// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

func init() { caddy.RegisterModule(new(Prequal)) }

// Prequal picks among a few backends, sampled as with p2c, by the hot-cold lexicographic rule
// (Prequal, NSDI 2024). A backend is hot if it has more requests in flight than a quantile of the
// pool, or if it has requests in flight but has answered none for twice the usual latency. Of the
// cold backends Prequal picks the one with the lowest latency; among those within a fifth of it,
// the one with the fewest requests in flight. If all are hot, it picks the one with the fewest in
// flight. The latency is that of the backend at a similar number of requests in flight. Use it if
// backends differ in speed and tail latency matters most.
//
// The paper uses probes; this policy uses what the proxy has measured itself. Failures count as
// with peak_ewma.
type Prequal struct {
	// Choices is the number of backends to sample, from 2 to 100. Default: 5.
	Choices int `json:"choices,omitempty"`
	// HotQuantile is the share of backends that are not hot, above 0 and below 1. Default:
	// 0.84.
	HotQuantile float64 `json:"hot_quantile,omitempty"`

	Adapter

	// allHot makes the policy use latencies at any load, which herds requests (see its test).
	// It is not an option.
	allHot bool
}

// CaddyModule returns the Caddy module information.
func (*Prequal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "prequal", New: func() caddy.Module { return new(Prequal) }}
}

// quantiles bounds hot_quantile.
var quantiles = caddyfileutil.Floats{Max: 1, Above: true, Below: true, Such: 0.84}

// Provision sets up the policy.
func (p *Prequal) Provision(ctx caddy.Context) error {
	if p.Choices == 0 {
		p.Choices = 5
	}
	if p.HotQuantile == 0 {
		p.HotQuantile = 0.84 // 2^-0.25, as in the paper
	}
	if err := cmp.Or(choiceCounts.Check("choices", p.Choices), quantiles.Check("hot_quantile", p.HotQuantile)); err != nil {
		return err
	}
	return p.provision(ctx, "prequal", p)
}

func (p *Prequal) prepare(g group) picker {
	h := &prequalPicker{
		sampler: newSampler(g.weights, p.Choices), quantile: p.HotQuantile,
		allHot: p.allHot, of: make([]*latency.ByLoad, len(g.backends)), weighted: !equal(g.settled),
	}
	for i, b := range g.backends {
		h.of[i] = b.ByLoad()
	}
	return h
}

// prequalPicker applies the rule to one group. It is safe for concurrent use.
type prequalPicker struct {
	sampler
	quantile float64
	allHot   bool
	weighted bool // weights differ
	of       []*latency.ByLoad

	// The loads of the latest samples, as bits of float32, and their quantile.
	seen  [64]atomic.Uint32
	count atomic.Uint32
	theta atomic.Uint32
}

func (h *prequalPicker) pick(c candidates, _ *http.Request) int {
	from := h.first(&c)
	best := h.best(&c, from)
	if from.drawn && !c.usable(best) {
		best = h.best(&c, samples{})
	}
	if best < 0 {
		return anyUsable(c)
	}
	return best
}

func (h *prequalPicker) best(c *candidates, from samples) int {
	now, theta := clock.Now(), math.Float32frombits(h.theta.Load())
	cold, coolest := -1, -1
	latency, lowest, coldLoad, load := never, never, float32(0), float32(math.Inf(1))
	last, notes := -1, h.count.Add(uint32(h.n))
	for k := range h.n {
		i := h.get(from, c, k, last)
		if i < 0 {
			break
		}
		last = i
		n := c.inFlight(i)
		rif := float32(float64(n) / c.weights[i])
		h.seen[(notes-uint32(k))%uint32(len(h.seen))].Store(math.Float32bits(rif))
		if rif < load {
			coolest, load = i, rif
		}
		if rif > theta {
			continue
		}
		l := h.latency(c, i, n, now)
		if h.unansweredFor(i, l, now) {
			continue
		}
		l = h.weigh(c, i, l)
		lowest = min(lowest, l)
		// Among latencies that count as equal, the load decides, and then the order of
		// sampling.
		if l <= tie*lowest && (latency > tie*lowest || rif < coldLoad) {
			cold, latency, coldLoad = i, l, rif
		}
	}
	if notes/16 != (notes-uint32(h.n))/16 {
		h.observe(notes)
	}
	if cold >= 0 {
		return cold
	}
	return coolest
}

// maxUnanswered, times the usual latency, is how long a backend with requests in flight may answer
// none before it is hot.
const maxUnanswered = 2

// unansweredFor reports whether backend i has requests in flight and has answered none for so long
// that its earlier latencies are outdated.
func (h *prequalPicker) unansweredFor(i int, latency float64, now time.Duration) bool {
	return float64(h.of[i].UnansweredFor(now)) > maxUnanswered*latency
}

// latency returns the expected latency of backend i with one more request.
func (h *prequalPicker) latency(c *candidates, i, inFlight int, now time.Duration) float64 {
	l := h.of[i].At(inFlight+1, now)
	switch {
	case h.allHot:
		l = latency.NewReader(now).Value(&c.states[i].Header)
	case l == 0 && inFlight > 0:
		l = unknown
	}
	return l + c.states[i].Penalty()
}

// weigh divides a latency by the weight of backend i. During its slow start, that is its full
// weight, since the ramp already reduces how often it is sampled.
func (h *prequalPicker) weigh(c *candidates, i int, latency float64) float64 {
	if h.weighted {
		return latency / c.settled[i]
	}
	return latency
}

// peek implements [picker]. The peeking picker has its own samples of the load.
func (h *prequalPicker) peek() picker {
	next := &prequalPicker{sampler: h.sampler.peek(), quantile: h.quantile, allHot: h.allHot, weighted: h.weighted, of: h.of}
	for i := range h.seen {
		next.seen[i].Store(h.seen[i].Load())
	}
	next.count.Store(h.count.Load())
	next.theta.Store(h.theta.Load())
	return next
}

// score implements [picker]: the load by weight, whether the backend is hot, and the latency.
// The lowest latency of the cold backends wins.
func (h *prequalPicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	n := c.inFlight(i)
	load, hot := float64(n)/c.weights[i], 0.0
	now := clock.Now()
	l := h.latency(c, i, n, now)
	if float32(load) > math.Float32frombits(h.theta.Load()) || h.unansweredFor(i, l, now) {
		hot = 1
	}
	return map[string]float64{"in_flight": float64(n), "load": load, "hot": hot, "latency_seconds": h.weigh(c, i, l) / 1e9}
}

// observe recomputes the quantile, once in 16 samples.
func (h *prequalPicker) observe(notes uint32) {
	var loads [len(h.seen)]float32
	n := min(int(notes), len(loads))
	for i := range n {
		loads[i] = math.Float32frombits(h.seen[i].Load())
	}
	slices.Sort(loads[:n])
	h.theta.Store(math.Float32bits(loads[int(h.quantile*float64(n-1))]))
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy prequal {
//		choices      <n>
//		hot_quantile <q>
//		weights      <n...>   # on a plain upstream list, by position
//	}
func (p *Prequal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume policy name
	return p.unmarshal(d, caddyfileutil.Options{
		"choices":      choiceCounts.Option(&p.Choices),
		"hot_quantile": quantiles.Option(&p.HotQuantile),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Prequal)(nil)
	_ reverseproxy.Selector = (*Prequal)(nil)
	_ caddyfile.Unmarshaler = (*Prequal)(nil)
	_ algorithm             = (*Prequal)(nil)
)
