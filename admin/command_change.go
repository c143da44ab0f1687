// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// duration is a flag with the syntax of durations in a Caddyfile.
type duration time.Duration

// String implements [pflag.Value].
func (d *duration) String() string { return time.Duration(*d).String() }

// Set implements [pflag.Value].
func (d *duration) Set(text string) error {
	parsed, err := caddy.ParseDuration(text)
	if err == nil && parsed < 0 {
		err = fmt.Errorf("%v is negative", parsed)
	}
	*d = duration(parsed)
	return err
}

// Type implements [pflag.Value].
func (*duration) Type() string { return "duration" }

func (c *command) add() *cobra.Command {
	var r AddRequest
	cmd := &cobra.Command{
		Use:               "add <pool> <address>",
		Short:             "Adds a backend to a pool",
		Example:           "  caddy ballast add web 10.0.0.7:8080 --id seven --weight 2",
		Args:              arguments(2, 2),
		ValidArgsFunction: c.complete(false),
	}
	settingsFlags(cmd.Flags(), &r.Settings)
	verify := onOff(true)
	cmd.Flags().Var(&verify, "verify", "probe the backend first, and do not add it if it fails: on or off")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		r.Address, r.Verify = args[1], (*bool)(&verify)
		b, err := client.Add(cmd.Context(), args[0], r)
		if err != nil {
			return err
		}
		return c.print(cmd, b, func(t *textTable) {
			t.line("added %s to %s: it is %s, with weight %g", b.ID, args[0], stateWords(b.State), b.EffectiveWeight)
		})
	})
	return cmd
}

func (c *command) remove() *cobra.Command {
	var drain duration
	cmd := &cobra.Command{
		Use:   "remove <pool> <backend>",
		Short: "Removes a backend from a pool",
		Long: "Removes a backend from a pool. It gets no new requests; requests in flight run to completion.\n" +
			"With --drain it is drained first, and leaves when it is empty or when the time has passed.",
		Example:           "  caddy ballast remove web seven --drain 30s",
		Args:              arguments(2, 2),
		ValidArgsFunction: c.complete(true),
	}
	cmd.Flags().Var(&drain, "drain", "drain the backend first, for at most this time")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		r, err := client.Remove(cmd.Context(), args[0], args[1], time.Duration(drain))
		if err != nil {
			return err
		}
		return c.print(cmd, r, func(t *textTable) {
			how := "it was empty"
			if !r.Emptied {
				how = count(r.InFlight, "request") + " in flight, which run to completion"
			}
			t.line("removed %s from %s: %s%s", r.ID, args[0], how, warning(r.Warning))
		})
	})
	return cmd
}

func (c *command) state(state, short string) *cobra.Command {
	r := ChangeRequest{State: state}
	cmd := &cobra.Command{
		Use:               state + " <pool> <backend>",
		Short:             short,
		Args:              arguments(2, 2),
		ValidArgsFunction: c.complete(true),
		RunE: c.run(func(cmd *cobra.Command, client *Client, args []string) error {
			b, err := client.Change(cmd.Context(), args[0], args[1], r)
			if err != nil {
				return err
			}
			return c.print(cmd, b, func(t *textTable) { t.line("%s", b.ID+" is "+changedState(b)) })
		}),
	}
	forFlag(cmd, &r)
	return cmd
}

// forFlag adds the flag for which instances of a backend a change is.
func forFlag(cmd *cobra.Command, r *ChangeRequest) {
	cmd.Flags().StringVar(&r.For, "for", "", "instance, if the change ends with the instance of the backend, which is the default; or address, if it also holds for the next instances at its address")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"instance", "address"}, cobra.ShellCompDirectiveNoFileComp))
}

// changedState describes the state of a backend that was changed.
func changedState(b Backend) string { return stateWords(b.State) + forAddress(b, "state") + left(b) }

// forAddress returns a remark if a field of a backend is changed for its address; else "".
func forAddress(b Backend, field string) string {
	if slices.Contains(b.ForAddress, field) {
		return ", for each instance at " + b.Address
	}
	return ""
}

// left describes the remaining work of a backend that gets no new requests.
func left(b Backend) string {
	if b.Drain == nil {
		return ""
	}
	text := ": " + count(b.Drain.Requests, "request") + " in flight"
	if b.Drain.Sessions != nil {
		text += ", " + count(*b.Drain.Sessions, "session")
	}
	if b.Drain.Idle != nil && *b.Drain.Idle > 0 {
		text += ", idle for " + seconds(*b.Drain.Idle)
	}
	switch {
	case b.Warning != "": // removing it is not advisable
		text += warning(b.Warning)
	case safe(b.Drain):
		text += "; it is safe to remove"
	case b.Drain.Safe:
		text += "; waiting for " + others(b.Drain.Fleet)
	case b.Drain.Sessions == nil && b.Drain.Requests == 0:
		text += "; the number of its sessions is not known yet"
	}
	return text
}

// safe reports whether a backend is drained, on all instances of a fleet.
func safe(d *Drain) bool { return d.Safe && (d.Fleet == nil || d.Fleet.Safe) }

// others describes the instances on which a backend is not drained.
func others(f *membership.FleetDrain) string {
	if len(f.Waiting) == 0 {
		return "the store of the fleet, without which the other instances are not known"
	}
	return fmt.Sprintf("%s of %d: %s", count(len(f.Waiting), "instance"), f.Instances, listed(f.Waiting))
}

// warning formats the warning of a change, if any.
func warning(text string) string {
	if text == "" {
		return ""
	}
	return "; warning: " + text
}

// count formats a number of things.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// progress decides when to print the state of a draining backend.
type progress struct {
	printed  bool
	at       time.Time // time of the last line
	requests int
	sessions int // negative if not known
	waiting  int // instances of the fleet
}

// printEvery is the interval of lines without a change.
const printEvery = 10 * time.Second

// due reports whether requests or sessions have changed since the last line, or that line is
// older than printEvery.
func (p *progress) due(d *Drain, now time.Time) bool {
	next := progress{true, now, d.Requests, -1, 0}
	if d.Sessions != nil {
		next.sessions = *d.Sessions
	}
	if d.Fleet != nil {
		next.waiting = len(d.Fleet.Waiting)
	}
	same := p.requests == next.requests && p.sessions == next.sessions && p.waiting == next.waiting
	if p.printed && same && now.Sub(p.at) < printEvery {
		return false
	}
	*p = next
	return true
}

func (c *command) drain() *cobra.Command {
	var wait duration
	r := ChangeRequest{State: "drain"}
	cmd := &cobra.Command{
		Use:   "drain <pool> <backend>",
		Short: "Stops new requests to a backend, except those of its sessions",
		Long: "Stops new requests to a backend, except those of its sessions. With --wait the command waits\n" +
			"until the backend has no requests in flight and no sessions, in a fleet on all instances. A\n" +
			"session in a cookie counts for a minute after its last request, so wait longer than that.",
		Example:           "  caddy ballast drain web seven --wait 5m && systemctl stop app@seven",
		Args:              arguments(2, 2),
		ValidArgsFunction: c.complete(true),
	}
	forFlag(cmd, &r)
	cmd.Flags().Var(&wait, "wait", "wait up to this time until the backend is safe to remove; exit with 4 if it is not")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		end := time.Now().Add(time.Duration(wait))
		b, err := client.Change(cmd.Context(), args[0], args[1], r)
		for printed := new(progress); err == nil && time.Now().Before(end) && b.Drain != nil && !safe(b.Drain); {
			if !c.json && printed.due(b.Drain, time.Now()) {
				cmd.PrintErrln(printable(b.ID + " is " + changedState(b)))
			}
			time.Sleep(min(drainPollEvery, max(0, time.Until(end))))
			b, err = client.Backend(cmd.Context(), args[0], args[1])
		}
		if err != nil {
			return err
		}
		if err := c.print(cmd, b, func(t *textTable) { t.line("%s", b.ID+" is "+changedState(b)) }); err != nil {
			return err
		}
		if wait > 0 && b.Drain != nil && !safe(b.Drain) {
			return errBusy
		}
		return nil
	})
	return cmd
}

// drainPollEvery is the interval at which the command polls a draining backend.
const drainPollEvery = 200 * time.Millisecond

func (c *command) weight() *cobra.Command {
	var r ChangeRequest
	cmd := &cobra.Command{
		Use:               "weight <pool> <backend> <weight>|configured",
		Short:             "Sets the weight of a backend, or returns to the configured one",
		Example:           "  caddy ballast weight web seven 5",
		Args:              arguments(3, 3),
		ValidArgsFunction: c.complete(true),
	}
	forFlag(cmd, &r)
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		r.Weight = Number{Given: true}
		if args[2] != "configured" {
			n, err := strconv.Atoi(args[2])
			if err != nil {
				return fmt.Errorf("the weight must be a whole number from 0 to 65535, or the word configured, got %q", args[2])
			}
			r.Weight.Value = &n
		}
		b, err := client.Change(cmd.Context(), args[0], args[1], r)
		if err != nil {
			return err
		}
		return c.print(cmd, b, func(t *textTable) {
			t.line("%s has weight %g, effective weight %g%s%s", b.ID, b.Weight, b.EffectiveWeight, forAddress(b, "weight"), warning(b.Warning))
		})
	})
	return cmd
}
