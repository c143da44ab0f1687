// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ballast-lb/caddy-ballast/internal/event"
)

const (
	// shownEvents is the number of events that the command shows by default.
	shownEvents = 20
	// followEvery is the interval at which the command requests new events.
	followEvery = time.Second
)

func (c *command) events() *cobra.Command {
	var last int
	var follow bool
	cmd := &cobra.Command{
		Use:   "events [<pool>]",
		Short: "Shows the latest events, and with --follow those that happen",
		Long: fmt.Sprintf("Shows the latest events: backends that went down, came up or were ejected, changes and who has made\n"+
			"them, guard and panic. Caddy keeps the latest %d, until it is restarted. With --follow the command\n"+
			"goes on with those that happen, also over reloads and restarts of Caddy.", event.MaxKept),
		Example:           "  caddy ballast events --last 5\n  caddy ballast events web --follow",
		Args:              arguments(0, 1),
		ValidArgsFunction: c.complete(false),
	}
	cmd.Flags().IntVar(&last, "last", shownEvents, fmt.Sprintf("number of events to show first, at most %d; with --follow, 0 for none", event.MaxKept))
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with the events that happen")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		if last < 0 || last > event.MaxKept || last == 0 && !follow {
			return fmt.Errorf("--last must be a number from 1 to %d, got %d", event.MaxKept, last)
		}
		pool := ""
		if len(args) == 1 {
			pool = args[0]
			if _, err := client.Pool(cmd.Context(), pool); err != nil { // it may be misspelt
				return err
			}
		}
		got, err := client.Events(cmd.Context(), pool, max(1, last), 0)
		if err != nil {
			return err
		}
		shown := got.Events[len(got.Events)-min(last, len(got.Events)):]
		if err := c.printEvents(cmd, shown); err != nil || !follow {
			return err
		}
		return c.follow(cmd, client, pool, got.Sequence)
	})
	return cmd
}

// follow prints the events after a sequence number until the command is interrupted.
func (c *command) follow(cmd *cobra.Command, client *Client, pool string, after uint64) error {
	away := false
	for {
		if err := wait(cmd.Context(), followEvery); err != nil {
			return err
		}
		got, err := client.Events(cmd.Context(), pool, event.MaxKept, after)
		var unreachable *AwayError
		switch {
		case errors.As(err, &unreachable) && cmd.Context().Err() == nil:
			if !away {
				cmd.PrintErrln(printable(err.Error()))
			}
			away = true
			continue
		case err != nil:
			return err
		}
		away = false
		if got.Sequence < after { // Caddy has been restarted, and counts anew
			after = 0
			continue
		}
		if err := c.printEvents(cmd, got.Events); err != nil {
			return err
		}
		after = got.Sequence
	}
}

// printEvents prints one event a line.
func (c *command) printEvents(cmd *cobra.Command, all []Event) error {
	for _, e := range all {
		line := eventLine(e, time.Local)
		if c.json {
			data, err := json.Marshal(e)
			if err != nil {
				return err
			}
			line = string(data)
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
			return err
		}
	}
	return nil
}

// eventLine describes an event: when, what, of which pool and backend, and the rest of its data.
func eventLine(e Event, zone *time.Location) string {
	rest := maps.Clone(e.Data)
	of := fmt.Sprint(e.Data["pool"])
	if backend := fmt.Sprint(e.Data["backend"]); e.Data["backend"] != nil {
		of += "/" + backend
		if e.Data["address"] == e.Data["backend"] {
			delete(rest, "address")
		}
	}
	if e.Data["pool"] == nil {
		of = "-"
	}
	delete(rest, "pool")
	delete(rest, "backend")
	words := []string{e.At.In(zone).Format(time.DateTime), e.Event, of}
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		value := fmt.Sprint(rest[name])
		if value == "" {
			continue
		}
		if strings.ContainsAny(value, " \"=") {
			value = fmt.Sprintf("%q", value)
		}
		words = append(words, name+"="+value)
	}
	return printable(strings.Join(words, "  "))
}
