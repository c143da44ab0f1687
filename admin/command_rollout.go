// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/report"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

func (c *command) rollout() *cobra.Command {
	return &cobra.Command{
		Use:   "rollout <pool> [<group> [pause|resume|promote|abort]]",
		Short: "Shows the groups of a pool, or changes the rollout of one",
		Long: "Shows the groups of a pool with their shares, and what is compared.\n" +
			"  pause    keeps the share as it is\n" +
			"  resume   goes on, or begins an aborted rollout anew\n" +
			"  promote  gives the group all requests\n" +
			"  abort    gives it none, also those of its sessions",
		Example:           "  caddy ballast rollout web canary pause",
		Args:              arguments(1, 3),
		ValidArgsFunction: c.completeRollout,
		RunE: c.run(func(cmd *cobra.Command, client *Client, args []string) error {
			var r Rollouts
			var err error
			switch len(args) {
			case 1:
				r, err = client.Rollouts(cmd.Context(), args[0])
			case 2:
				r.Groups = make([]Group, 1)
				r.Groups[0], err = client.Rollout(cmd.Context(), args[0], args[1])
			default:
				r.Groups = make([]Group, 1)
				r.Groups[0], err = client.ChangeRollout(cmd.Context(), args[0], args[1], RolloutRequest{args[2]})
			}
			if err != nil {
				return err
			}
			if len(args) > 1 {
				return c.print(cmd, r.Groups[0], func(t *textTable) { t.rollout(r.Groups[0]) })
			}
			return c.print(cmd, r, func(t *textTable) {
				if len(r.Groups) == 0 {
					t.line("pool %s has no groups", r.Pool)
					return
				}
				t.groups(r.Groups)
			})
		}),
	}
}

// completeRollout completes the pool, the group and the action.
func (c *command) completeRollout(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return c.complete(false)(cmd, args, text)
	}
	var all []string
	if client, err := c.client(); err == nil {
		r, _ := client.Rollouts(cmd.Context(), args[0]) // without an answer there is nothing to complete
		for _, g := range r.Groups {
			switch {
			case g.Rollout == nil:
			case len(args) == 1:
				all = append(all, g.Name)
			case len(args) == 2 && g.Name == args[1]:
				all = append(all, g.Rollout.Actions...)
			}
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// groups prints a row for each group.
func (t *textTable) groups(all []Group) {
	t.row("GROUP", "STATE", "SHARE", "BACKENDS", "REQUESTS", "ERRORS", "STEP", "NOTE")
	for _, g := range all {
		state, step, note := "-", "-", ""
		if r := g.Rollout; r != nil {
			state, note = r.State, r.Reason
			if inSteps(r) {
				step = fmt.Sprintf("%d of %d", r.Step+1, len(r.Shares))
			}
		}
		if !g.Serving {
			note = strings.TrimPrefix(note+"; no backend takes requests", "; ")
		}
		t.row(g.Name, state, percentage(g.Share), g.Backends, g.Requests, g.Errors, step, note)
	}
}

// rollout prints one rollout.
func (t *textTable) rollout(g Group) {
	r := g.Rollout
	t.line("%s is %s, with %s of the requests", g.Name, r.State, percentage(g.Share))
	if r.Reason != "" {
		t.line("%s", r.Reason)
	}
	if !inSteps(r) {
		return // nothing is compared
	}
	shares := make([]string, len(r.Shares))
	for i, s := range r.Shares {
		shares[i] = percentage(s)
	}
	if len(shares) > 1 {
		t.line("step %d of %s, for %s", r.Step+1, strings.Join(shares, " "), seconds(r.Age))
	}
	if r.Next != nil {
		t.line("the next step is due in %s, with %d requests", seconds(*r.Next), r.Needed)
	}
	t.line("")
	t.row("IN THIS STEP", "REQUESTS", "ERRORS", fmt.Sprintf("P%.4g", 100*r.Group.Quantile))
	for _, one := range []struct {
		name string
		report.RolloutFigures
	}{{g.Name, r.Group}, {group.MainName, r.Main}} {
		latency := "-"
		if one.Latency > 0 {
			latency = seconds(one.Latency)
		}
		t.row(one.name, one.Requests, one.Errors, latency)
	}
}

// inSteps reports whether the group has the share of a step, and is compared. It is promoted or aborted otherwise.
func inSteps(r *report.RolloutReport) bool {
	return r.State == string(rollout.Running) || r.State == string(rollout.Paused)
}

func percentage(share float64) string { return fmt.Sprintf("%.4g%%", 100*share) }
