// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
)

func init() { caddy.RegisterModule(new(PeakEWMA)) }

// PeakEWMA picks, of two backends sampled as with p2c, the one with the lower latency x (in
// flight + 1) / weight. Latencies within a fifth of each other count as equal; then the
// requests in flight decide. If the latency of both is more than twice the median of the pool,
// it samples two more. The latency is an average that follows a slow answer at once and a fast
// one gradually (Finagle), so the policy avoids a backend that has become slow within a few
// requests. Use it if backends differ in speed, or become slow one at a time.
//
// The latency is the time to the header of a response, or to its body. An attempt that failed, or
// got a 429 or 5xx response, has no latency. Instead, failures add to the latency of the backend:
// 5s if all of the latest attempts failed, 500ms if a tenth did. One request tries it again after
// 1s, doubled up to 30s while it keeps failing, or after the time of its Retry-After. In a pool,
// the averages survive a reload.
type PeakEWMA struct {
	// Decay is the time in which an average falls to about a third (1/e) without new slow
	// answers. Default: 10s.
	Decay caddy.Duration `json:"decay,omitempty"`
	// By is the latency to compare: "header", the time to the header of a response; "body", the
	// time to the first byte of its body, for backends that send the header before they work.
	// Default: header.
	By string `json:"by,omitempty"`

	Adapter
}

// CaddyModule returns the Caddy module information.
func (*PeakEWMA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "peak_ewma", New: func() caddy.Module { return new(PeakEWMA) }}
}

const defaultDecay = 10 * time.Second

// responseLatencies are the names of the latencies that a response has before its end, the
// default first.
var responseLatencies = caddyfileutil.Words{"header", "body"}

// Provision sets up the policy.
func (p *PeakEWMA) Provision(ctx caddy.Context) error {
	if err := caddyfileutil.CheckDuration("peak_ewma's decay", p.Decay); err != nil {
		return err
	}
	if p.Decay == 0 {
		p.Decay = caddy.Duration(defaultDecay)
	}
	if err := responseLatencies.Check("peak_ewma's by", p.By); err != nil {
		return err
	}
	return p.provision(ctx, "peak_ewma", p)
}

func (p *PeakEWMA) prepare(g group) picker {
	s := &peakEWMAPicker{
		sampler: newSampler(g.weights, 2), others: &alias{n: len(g.backends)},
		decay: time.Duration(p.Decay), of: make([]*latency.Peak, len(g.backends)), typical: new(streamingMedian),
	}
	if g.ramps != nil {
		s.others = newAlias(g.ramps)
	}
	for i, b := range g.backends {
		s.of[i] = b.PeakOf(s.decay, p.By == "body")
	}
	return s
}

type peakEWMAPicker struct {
	sampler        // by weight; its first sample wins ties, so that backends without a latency are used by weight
	others  *alias // evenly, since the cost contains the weight; by ramp in a slow start
	decay   time.Duration
	of      []*latency.Peak
	typical *streamingMedian // median of the latencies by weight
}

// far is the multiple of the median latency above which two more backends are sampled.
const far = 2

func (s *peakEWMAPicker) pick(c candidates, _ *http.Request) int {
	now, from := clock.Now(), s.first(&c)
	best, q := s.best(&c, from, now)
	if from.drawn && !c.usable(best) {
		best, q = s.best(&c, samples{}, now)
	}
	if best < 0 {
		return anyUsable(c)
	}
	// Both samples may be slow: with 2 slow backends of 16, in one of 120 picks.
	if s.n < len(s.of) && q.latency > far*s.typical.value() {
		if other, o := s.best(&c, samples{}, now); other >= 0 && o.beats(q) {
			return other
		}
	}
	return best
}

// best returns the better of two samples.
func (s *peakEWMAPicker) best(c *candidates, from samples, now time.Duration) (int, peakScore) {
	first, second := s.get(from, c, 0, -1), -1
	if first < 0 {
		return first, peakScore{}
	}
	q := s.scoreOf(c, first, now)
	s.typical.observe(q.latency)
	if s.n == 1 {
		return first, q
	}
	if from.drawn {
		second = s.get(from, c, 1, first)
	} else {
		second = s.others.sample(c, first)
	}
	if second < 0 {
		return first, q
	}
	if o := s.scoreOf(c, second, now); o.beats(q) {
		return second, o
	}
	return first, q
}

func (s *peakEWMAPicker) scoreOf(c *candidates, i int, now time.Duration) peakScore {
	return newPeakScore(s.latency(c, i, now), c.queue(i), 1/c.settled[i])
}

// latency returns the latency of candidate i in nanoseconds.
func (s *peakEWMAPicker) latency(c *candidates, i int, now time.Duration) float64 {
	return s.of[i].Value(now, s.decay) + c.states[i].Penalty()
}

func (s *peakEWMAPicker) peek() picker {
	next := *s
	next.sampler, next.typical = s.sampler.peek(), s.typical.clone()
	return &next
}

// score implements [picker]: the cost. The lower of two wins.
func (s *peakEWMAPicker) score(c *candidates, i int, _ *http.Request) map[string]float64 {
	return costScore(c, i, s.latency(c, i, clock.Now()), 1/c.settled[i])
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy peak_ewma [<decay>] {
//		by header|body
//		weights <n...>   # on a plain upstream list, by position
//	}
func (p *PeakEWMA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var decay string
	caddyfileutil.Head(d, &decay)
	if decay != "" {
		var err error
		if p.Decay, err = caddyfileutil.ParseDuration("peak_ewma's decay", decay); err != nil {
			return d.WrapErr(err)
		}
	}
	return p.unmarshal(d, caddyfileutil.Options{"by": responseLatencies.Option(&p.By)}.Hint(map[string]string{"decay": "write lb_policy peak_ewma <decay>, without a block"}))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*PeakEWMA)(nil)
	_ reverseproxy.Selector = (*PeakEWMA)(nil)
	_ caddyfile.Unmarshaler = (*PeakEWMA)(nil)
	_ algorithm             = (*PeakEWMA)(nil)
)
