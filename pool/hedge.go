// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
)

// Hedge configures second attempts for late requests. The first acceptable answer of the two is passed on, and the
// other attempt is cancelled. Upgrades, sessions of a sticky policy, requests with a body that is too large to keep, and
// gRPC without Match get no second attempt. No request gets one while all backends are at max_requests, in panic mode,
// or when the retry budget is used up.
type Hedge struct {
	// Quantile is the quantile of the recent times to the response header after which an attempt is late,
	// from 0.5 to 0.9999: with 0.95, 5 % of the attempts are late. It is taken over the other backends of
	// the pool. It is never below 1 - Max. Required.
	Quantile float64 `json:"quantile,omitempty"`
	// Max is the largest share of requests that get a second attempt in any 10s, above 0 and at most 1.
	// Default: 0.02.
	Max *float64 `json:"max,omitempty"`
	// Min is the shortest time after which an attempt is late, from 100µs to 1h. Default: 2ms.
	Min caddy.Duration `json:"min,omitempty"`
	// MatchRaw selects the requests that may be sent to two backends. Default: those with a safe
	// method, which are GET, HEAD, OPTIONS and TRACE.
	MatchRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
}

// Bounds and defaults of the options of a hedge.
var (
	hedgeQuantiles = caddyfileutil.Floats{Min: 0.5, Max: 0.9999, Ratio: true}
	hedgeShares    = caddyfileutil.Floats{Max: 1, Above: true, Ratio: true}
	hedgeDelays    = caddyfileutil.Durations{Min: 100 * time.Microsecond, Max: time.Hour}
)

const (
	defaultHedgeMax = 0.02
	defaultHedgeMin = 2 * time.Millisecond
)

// policy returns the policy without its matchers, or an error if a setting is invalid.
func (c *Hedge) policy() (*hedge.HedgePolicy, error) {
	if c == nil {
		return nil, nil
	}
	p := &hedge.HedgePolicy{Quantile: c.Quantile, Max: defaultHedgeMax, Min: cmp.Or(time.Duration(c.Min), defaultHedgeMin)}
	if c.Max != nil {
		p.Max = *c.Max
	}
	return p, cmp.Or(hedgeQuantiles.Check("hedge's quantile", c.Quantile), hedgeShares.Check("hedge's max", p.Max),
		hedgeDelays.Check("hedge's min", caddy.Duration(p.Min)))
}

// loadMatchers adds the matchers to the policy.
func (c *Hedge) loadMatchers(ctx caddy.Context, p *hedge.HedgePolicy) error {
	if c == nil || len(c.MatchRaw) == 0 {
		return nil
	}
	match, err := loadMatchers(ctx, c, "MatchRaw", "hedge's match")
	p.Match = match
	return err
}

// loadMatchers returns the function of the matchers in a field of a configuration. A request whose
// matchers fail does not match.
func loadMatchers(ctx caddy.Context, c any, field, name string) (func(*http.Request) bool, error) {
	mods, err := ctx.LoadModule(c, field)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var matchers caddyhttp.MatcherSets
	if err := matchers.FromInterface(mods); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	logger := ctx.Logger()
	return func(req *http.Request) bool {
		match, err := matchers.AnyMatchWithError(req)
		if err != nil {
			logger.Error("a matcher failed; the request counts as not matching", zap.String("option", name), zap.Error(clip.Error(err)))
		}
		return match && err == nil
	}, nil
}

// unmarshal parses `hedge <quantile> { ... }`.
func (c *Hedge) unmarshal(d *caddyfile.Dispenser) (err error) {
	if !d.NextArg() {
		return d.Err("hedge: the quantile is missing; write one such as hedge 95%")
	}
	if c.Quantile, err = hedgeQuantiles.Parse("hedge", d.Val()); err != nil {
		return d.WrapErr(err)
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"max":   hedgeShares.Pointer(&c.Max),
		"min":   hedgeDelays.Option(&c.Min),
		"match": c.parseMatch,
	}.Hint(hedgeWords))
}

// parseMatch parses matchers in a line or a block.
func (c *Hedge) parseMatch(d *caddyfile.Dispenser) error {
	set, err := parseMatchers(d, "match", "path /search*")
	if err == nil {
		c.MatchRaw = append(c.MatchRaw, set)
	}
	return err
}

// parseMatchers parses the matchers of an option. such is an example of one.
func parseMatchers(d *caddyfile.Dispenser, option, such string) (caddy.ModuleMap, error) {
	position := *d
	set, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
	if err != nil {
		text, _, _ := strings.Cut(err.Error(), ", at ") // that of the matcher
		return nil, position.Errf("%s: %s; write matchers such as %s", option, text, such)
	}
	if len(set) == 0 {
		return nil, position.Errf("%s: the matchers are missing; write some such as %s", option, such)
	}
	return set, nil
}

// hedgeWords are the hints in the block of a hedge.
var hedgeWords = map[string]string{
	"after": "write `hedge <quantile>`, and `min <duration>` for the shortest delay", "delay": "write `hedge <quantile>`, and `min <duration>` for the shortest delay",
	"methods": "write `match method <methods...>`", "method": "write `match method <methods...>`", "path": "write `match path <paths...>`",
	"budget": "write `max <ratio>`", "ratio": "write `max <ratio>`", "attempts": "there is one second attempt; further ones are those of `retry`",
}
