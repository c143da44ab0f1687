// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// Matcher parses the matcher at the next argument. It returns false if the argument is not a
// matcher.
type Matcher func(d *caddyfile.Dispenser) (caddy.ModuleMap, bool, error)

// Unmarshal sets up the handler from Caddyfile tokens. Syntax:
//
//	shed [<matcher>] [fixed <limit> [fleet] | exponential <limit> [<slope>] | adaptive] {
//		name          <name>
//		limit         <n>                   # fixed, exponential
//		slope         <k>                   # exponential
//		algorithm     gradient|vegas|aimd|<name> [<args...>] {   # adaptive
//			# options of an algorithm that is not built in
//		}
//		initial_limit <n>                   # adaptive
//		min_limit     <n>                   # adaptive
//		max_limit     <n>                   # adaptive
//		tolerance     <factor>              # gradient
//		latency       <duration>            # aimd
//		queue         <size> [<timeout>]
//		priority      <level> <matcher>
//		per           <key>
//		max_keys      <n>
//		when          <signal> > <ratio>
//		status        <code>
//		retry_after   <duration>|auto
//		shadow
//	}
func (h *Handler) Unmarshal(d *caddyfile.Dispenser, matcher Matcher) error {
	position := *d
	position.Next()
	h.Position = caddyfileutil.PositionOf(&position)
	l := new(limiterTokens)
	if err := l.head(d); err != nil {
		return err
	}
	var maxKeys caddyfile.Dispenser // position of max_keys
	options := caddyfileutil.Options{
		"name":                           caddyfileutil.Valid(caddyfileutil.String(&h.Name), func() error { return caddyfileutil.CheckName(h.Name) }),
		"queue":                          caddyfileutil.OneOrTwo("queue takes a size and an optional timeout; write queue <size> [<timeout>]", h.parseQueue),
		caddyfileutil.Repeat("priority"): func(d *caddyfile.Dispenser) error { return h.unmarshalPriority(d, matcher) },
		"per":                            h.unmarshalPer,
		"max_keys": func(d *caddyfile.Dispenser) error {
			maxKeys = *d
			return h.unmarshalMaxKeys(d)
		},
		caddyfileutil.Repeat("when"): h.unmarshalWhen,
		"status":                     statuses.Option(&h.Status),
		"retry_after":                h.unmarshalRetryAfter,
		"shadow":                     caddyfileutil.Flag(&h.Shadow),
	}
	l.options(options)
	if err := caddyfileutil.Block(d, options); err != nil {
		return err
	}
	if h.Per != nil && h.Per.Key == "" {
		return maxKeys.Err("max_keys needs a key; write per <key> too")
	}
	limiter, name, err := l.limiter(&position)
	if err != nil {
		return err
	}
	switch limiter := limiter.(type) {
	case nil:
	case json.RawMessage:
		h.LimiterRaw = limiter
	default:
		h.LimiterRaw = caddyconfig.JSONModuleObject(limiter, "limiter", name, nil)
	}
	return nil
}

func (h *Handler) parseQueue(args []string) (err error) {
	h.Queue = new(Queue)
	if h.Queue.Size, err = limits.Parse("queue's size", args[0]); err != nil || len(args) == 1 {
		return err
	}
	h.Queue.Timeout, err = caddyfileutil.ParseDuration("queue's timeout", args[1])
	return err
}

func (h *Handler) unmarshalPriority(d *caddyfile.Dispenser, matcher Matcher) error {
	const write = "write priority <level> <matcher>"
	if !d.NextArg() {
		return d.Err("priority: the level is missing; " + write)
	}
	if n := len(h.Priorities); n > 0 && len(h.Priorities[n-1].MatcherSetsRaw) == 0 {
		return d.Errf("priority %s matches all requests, so that later priorities match none; write it last", h.Priorities[n-1].Level)
	}
	p := &Priority{Level: d.Val()}
	if _, err := parseLevel(p.Level); err != nil {
		return d.WrapErr(err)
	}
	position := *d
	set, ok, err := matcher(d)
	switch {
	case err != nil:
		return position.WrapErr(fmt.Errorf("priority: %w; define it in this site, or write a path that begins with a slash, or *", err))
	case !ok:
		return position.Err("priority: the matcher is missing; " + write + ", where a matcher is @name, a path that begins with a slash, or *")
	case d.NextArg():
		return d.Errf("priority: unexpected argument %q; %s", d.Val(), write)
	}
	if set != nil {
		p.MatcherSetsRaw = caddyhttp.RawMatcherSets{set}
	}
	h.Priorities = append(h.Priorities, p)
	return caddyfileutil.NoBlock(d, "priority")
}

func (h *Handler) unmarshalPer(d *caddyfile.Dispenser) error {
	if h.Per == nil {
		h.Per = new(Per)
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("per: the key is missing; write per <key>, where a key is one of: %s", httpx.KeyChoice)
	}
	h.Per.Key = args[0]
	if len(args) > 1 && httpx.KeyTakesName(args[0]) {
		h.Per.KeyName = args[1]
		args = args[1:]
	}
	if len(args) > 1 {
		return d.Errf("per: unexpected argument %q; write per <key>", args[1])
	}
	if _, err := httpx.NewRequestKey(h.Per.Key, h.Per.KeyName); err != nil {
		return d.WrapErr(fmt.Errorf("per: %w", err))
	}
	return caddyfileutil.NoBlock(d, "per")
}

func (h *Handler) unmarshalMaxKeys(d *caddyfile.Dispenser) error {
	if h.Per == nil {
		h.Per = new(Per)
	}
	return keyCounts.Option(&h.Per.MaxKeys)(d)
}

func (h *Handler) unmarshalWhen(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 3 || args[1] != ">" {
		return d.Err("when takes a signal and a ratio; write when <signal> > <ratio>, such as: when cpu > 90%")
	}
	t := &Trigger{Signal: args[0]}
	err := t.checkSignal()
	if err == nil {
		t.Above, err = thresholds.Parse("when "+t.Signal, args[2])
	}
	if err != nil {
		return d.WrapErr(err)
	}
	h.When = append(h.When, t)
	return caddyfileutil.NoBlock(d, "when")
}

func (h *Handler) unmarshalRetryAfter(d *caddyfile.Dispenser) error {
	auto := *d
	if auto.NextArg() && auto.Val() == "auto" {
		*d = auto
		if d.NextArg() {
			return d.Errf("retry_after: unexpected argument %q; write retry_after <duration>|auto", d.Val())
		}
		return caddyfileutil.NoBlock(d, "retry_after")
	}
	return retryAfters.Option(&h.RetryAfter)(d)
}
