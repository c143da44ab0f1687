// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// parseGroup parses `group <name> { ... }`. seen are the addresses of the pool.
func (c *Config) parseGroup(d *caddyfile.Dispenser, seen *addressSet) error {
	position := *d
	if !d.NextArg() {
		return d.Err("group: the name is missing; write group <name> { ... }")
	}
	g := &GroupConfig{Name: d.Val()}
	if err := checkGroupName(g.Name); err != nil {
		return d.WrapErr(err)
	}
	if c.hasGroup(g.Name) {
		return d.Errf("group %q is defined twice; names must differ", g.Name)
	}
	options := caddyfileutil.Options{
		"share":                      g.parseShare,
		caddyfileutil.Repeat("when"): g.parseWhen,
		"steps":                      g.parseSteps,
		"abort":                      g.parseAbort,
		"fallback":                   caddyfileutil.Flag(&g.Fallback),
	}
	maps.Copy(options, memberOptions(seen, &g.Backends, &g.SourcesRaw))
	if err := caddyfileutil.Block(d, options.Hint(groupWords)); err != nil {
		return err
	}
	if _, err := g.plan(); err != nil {
		return position.Errf("group %s: %v", g.Name, err)
	}
	c.Groups = append(c.Groups, g)
	return nil
}

// parseShare parses `share <ratio> [by <key>]`.
func (g *GroupConfig) parseShare(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("share: the ratio is missing; write share <ratio> [by <key>]")
	}
	share, err := caddyfileutil.AnyRatio.Parse("share", d.Val())
	if err != nil {
		return d.WrapErr(err)
	}
	g.Share = &share
	args := d.RemainingArgs()
	if err := caddyfileutil.NoBlock(d, "share"); err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return nil
	case args[0] != "by" || len(args) == 1:
		return d.Errf("share takes a ratio and, behind by, a key; write share <ratio> by <key>, where the key is %s", httpx.KeyChoice)
	}
	g.Key = args[1]
	switch {
	case len(args) == 3 && httpx.KeyTakesName(g.Key):
		g.KeyName = args[2]
	case len(args) > 2:
		return d.Errf("share: unexpected %q behind the key; write share <ratio> by <key>", args[len(args)-1])
	}
	if _, err := g.key(); err != nil {
		return d.WrapErr(fmt.Errorf("share: %w", err))
	}
	return nil
}

// parseWhen parses matchers in a line or a block.
func (g *GroupConfig) parseWhen(d *caddyfile.Dispenser) error {
	set, err := parseMatchers(d, "when", "header X-Canary always")
	if err == nil {
		g.WhenRaw = append(g.WhenRaw, set)
	}
	return err
}

// parseSteps parses `steps <ratio...> every <duration>`.
func (g *GroupConfig) parseSteps(d *caddyfile.Dispenser) error {
	const synopsis = "steps takes shares and, behind every, a duration; write steps 5% 25% 100% every 10m"
	args := d.RemainingArgs()
	if err := caddyfileutil.NoBlock(d, "steps"); err != nil {
		return err
	}
	n := slices.Index(args, "every")
	if n < 1 || n != len(args)-2 {
		return d.Err(synopsis)
	}
	for _, arg := range args[:n] {
		step, err := groupSteps.Parse("steps", arg)
		if err != nil {
			return d.WrapErr(err)
		}
		if k := len(g.Steps); k > 0 && step <= g.Steps[k-1] {
			return d.Errf("steps must rise, got %s after %v%%", arg, 100*g.Steps[k-1])
		}
		g.Steps = append(g.Steps, step)
	}
	var err error
	if g.Every, err = stepDurations.Parse("steps' every", args[n+1]); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseAbort parses `abort errors +<ratio> [<quantile> <factor>] [after <n>]`.
func (g *GroupConfig) parseAbort(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if err := caddyfileutil.NoBlock(d, "abort"); err != nil {
		return err
	}
	abort, err := newAbort(args)
	if err == nil {
		_, err = abort.rules()
	}
	if err != nil {
		return d.WrapErr(err)
	}
	g.Abort = abort
	return nil
}

func newAbort(args []string) (c *AbortConfig, err error) {
	synopsis := errors.New("abort takes errors and a ratio, and may take a quantile with a factor, and after with a number; write abort errors +1% 95% 1.5 after 100")
	if len(args) < 2 || args[0] != "errors" {
		return nil, synopsis
	}
	c = new(AbortConfig)
	if !strings.HasPrefix(args[1], "+") {
		return nil, fmt.Errorf("abort's errors are what is allowed above the main group; write abort errors +%s", args[1])
	}
	if c.Errors, err = caddyfileutil.AnyRatio.Parse("abort's errors", args[1][1:]); err != nil {
		return nil, err
	}
	args = args[2:]
	if len(args) >= 2 && args[0] != "after" {
		quantile := args[0]
		if p, ok := strings.CutPrefix(quantile, "p"); ok { // p95
			quantile = p + "%"
		}
		if c.Quantile, err = abortQuantiles.Parse("abort's quantile", quantile); err != nil {
			return nil, err
		}
		if c.Factor, err = abortFactors.Parse("abort's factor", args[1]); err != nil {
			return nil, err
		}
		args = args[2:]
	}
	switch {
	case len(args) == 0:
		return c, nil
	case len(args) != 2 || args[0] != "after":
		return nil, synopsis
	}
	c.After, err = abortAfters.Parse("abort's after", args[1])
	return c, err
}

// groupWords are the hints in the block of a group.
var groupWords = map[string]string{
	"weight": "write `share <ratio>` for the group, or `backend <address> { weight <n> }`", "percent": "write `share <ratio>`", "percentage": "write `share <ratio>`",
	"canary-weight": "write `share <ratio>`", "header": "write `when header <field> <value>`", "cookie": "write `when header_regexp Cookie ...`, or `share <ratio> by cookie <name>`",
	"match": "write `when <matcher>`", "sticky": "write `lb_policy sticky` in reverse_proxy; a session stays in its group", "every": "write it behind the steps, as in `steps 5% 100% every 10m`",
	"interval": "write it behind the steps, as in `steps 5% 100% every 10m`", "by": "write it behind the share, as in `share 5% by client_ip`", "health": "checks are for all backends; write `health` in the pool",
	"mirror": "it is an option of the pool", "errors": "write `abort errors +<ratio>`", "latency": "write `abort errors +<ratio> <quantile> <factor>`",
	"after": "write it behind abort, as in `abort errors +1% after 200`", "retry": "write `fallback`, or `retry` in the pool",
}
