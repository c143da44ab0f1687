// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// The modes of limiters in a Caddyfile.
const (
	modeFixed       = "fixed"
	modeExponential = "exponential"
	modeAdaptive    = "adaptive"
)

// limiterTokens collects the limiter's options in a Caddyfile. They are checked against each
// other at the end of the block.
type limiterTokens struct {
	mode, algorithm string
	raw             json.RawMessage // of an algorithm that is not built in
	limit           int
	fleet           bool
	slope           float64
	bounds          Bounds
	tolerance       float64
	latency         caddy.Duration
	given           map[string]caddyfile.Dispenser // options that are set, and their positions
	bound           caddyfile.Dispenser            // position of the last of the bounds
}

// owners lists the limiters that have an option.
var owners = map[string][]string{
	"limit":         {modeFixed, modeExponential},
	"slope":         {modeExponential},
	"algorithm":     algorithms,
	"initial_limit": algorithms,
	"min_limit":     algorithms,
	"max_limit":     algorithms,
	"tolerance":     {"gradient"},
	"latency":       {"aimd"},
}

var algorithms = []string{"gradient", "vegas", "aimd"}

// head parses the mode and its arguments on the line of the directive.
func (l *limiterTokens) head(d *caddyfile.Dispenser) error {
	l.given = make(map[string]caddyfile.Dispenser)
	caddyfileutil.Head(d, &l.mode)
	switch l.mode {
	case "", modeAdaptive:
		return nil
	case modeFixed, modeExponential:
	default:
		return d.Errf("unknown limiter %q; write fixed <limit> [fleet], exponential <limit> [<slope>] or adaptive", l.mode)
	}
	if !d.NextArg() {
		return nil // it may be an option
	}
	l.given["limit"] = *d
	var err error
	if l.limit, err = limits.Parse("limit", d.Val()); err != nil {
		return d.WrapErr(err)
	}
	if next := *d; l.mode == modeFixed && next.NextArg() && next.Val() == fleetWord {
		*d, l.fleet = next, true
	}
	if l.mode == modeExponential && d.NextArg() {
		l.given["slope"] = *d
		if l.slope, err = slopes.Parse("slope", d.Val()); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// options adds the options of limiters.
func (l *limiterTokens) options(to caddyfileutil.Options) {
	for name, opt := range map[string]caddyfileutil.Option{
		"limit":         limits.Option(&l.limit),
		"slope":         slopes.Option(&l.slope),
		"algorithm":     l.parseAlgorithm,
		"initial_limit": limits.Option(&l.bounds.InitialLimit),
		"min_limit":     limits.Option(&l.bounds.MinLimit),
		"max_limit":     limits.Option(&l.bounds.MaxLimit),
		"tolerance":     tolerances.Option(&l.tolerance),
		"latency":       latencies.Option(&l.latency),
	} {
		to[name] = func(d *caddyfile.Dispenser) error {
			if before, ok := l.given[name]; ok {
				return d.Errf("%s is given twice, also at line %d; write it once", name, before.Line())
			}
			l.given[name] = *d
			if strings.HasSuffix(name, "_limit") {
				l.bound = *d
			}
			return opt(d)
		}
	}
}

// parseAlgorithm parses the name of an algorithm and, if it is not built in, its module.
func (l *limiterTokens) parseAlgorithm(d *caddyfile.Dispenser) (err error) {
	next := *d
	if next.NextArg() && !slices.Contains(algorithms, next.Val()) && next.Val() != modeFixed && next.Val() != modeExponential {
		if _, err := caddy.GetModule(namespace + "." + next.Val()); err == nil {
			l.algorithm = next.Val()
			l.raw, err = caddyfileutil.Module(d, namespace, "limiter", "algorithm")
			return err
		}
	}
	return caddyfileutil.Words(algorithms).Option(&l.algorithm)(d)
}

// limiter returns the limiter and its name; nil for the default.
func (l *limiterTokens) limiter(d *caddyfile.Dispenser) (limiter any, name string, err error) {
	if name = l.mode; name == "" || name == modeAdaptive {
		name = cmp.Or(l.algorithm, algorithms[0])
	}
	for _, option := range slices.Sorted(maps.Keys(l.given)) {
		if !slices.Contains(owners[option], name) && !(option == "algorithm" && l.raw != nil && name == l.algorithm) {
			position := l.given[option]
			return nil, "", position.Errf("%s is an option of %s, not of %s; remove it, or write another limiter", option, strings.Join(owners[option], ", "), name)
		}
	}
	if _, ok := l.given["limit"]; !ok && (name == modeFixed || name == modeExponential) {
		return nil, "", d.Errf("shed %s: the limit is missing; write shed %s <limit>", name, name)
	}
	if _, err := l.bounds.bounds(); err != nil {
		return nil, "", l.bound.WrapErr(err)
	}
	if l.raw != nil {
		return l.raw, name, nil
	}
	switch name {
	case modeFixed:
		return &Fixed{Limit: l.limit, Fleet: l.fleet}, name, nil
	case modeExponential:
		return &Exponential{Limit: l.limit, Slope: l.slope}, name, nil
	case "vegas":
		return &Vegas{l.bounds}, name, nil
	case "aimd":
		return &AIMD{Bounds: l.bounds, Latency: l.latency}, name, nil
	}
	if len(l.given) == 0 {
		return nil, "", nil
	}
	return &Gradient{Bounds: l.bounds, Tolerance: l.tolerance}, name, nil
}
