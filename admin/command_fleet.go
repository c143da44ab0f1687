// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) fleet() *cobra.Command {
	return &cobra.Command{
		Use:   "fleet",
		Short: "Shows the instances of the fleet",
		Long: "Shows the living instances of the fleet as one instance sees them, the state of the store, and the\n" +
			"shares of that instance in limits of the fleet.",
		Args: arguments(0, 0),
		RunE: c.run(func(cmd *cobra.Command, client *Client, _ []string) error {
			f, err := client.Fleet(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, f, func(t *textTable) { t.fleet(f) })
		}),
	}
}

// fleet prints the report of a fleet.
func (t *textTable) fleet(f Fleet) {
	t.line("%s: %s, generation %d", f.ID, storeWords(f), f.Generation)
	if f.Pending > 0 {
		t.line("%s not pushed yet, the oldest for %s", count(f.Pending, "change"), seconds(f.Lag))
	}
	for _, pool := range f.Isolated {
		t.line("warning: this instance may be cut off from the backends of %s: it sees most of them down, and most other instances do not", pool)
	}
	t.line("")
	t.row("INSTANCE", "ZONE", "VERSION", "ACKNOWLEDGED", "DOWN", "NOTE")
	for _, i := range f.Instances {
		note := ""
		if i.Self {
			note = "this instance"
		}
		t.row(i.ID, dash(i.Zone), dash(i.Version), i.Acknowledged, dash(downWords(i.Pools)), note)
	}
	if len(f.Shares) == 0 {
		return
	}
	t.line("")
	t.row("LIMIT OF THE FLEET", "LIMIT", "SHARE")
	for _, s := range f.Shares {
		name := "shed " + s.Shed
		if s.Shed == "" {
			name = s.Pool + " " + s.Backend
		}
		t.row(name, s.Limit, s.Share)
	}
}

// storeWords describes the state of the store.
func storeWords(f Fleet) string {
	switch {
	case f.Store.Connected:
		return "the store is connected"
	case f.Alone:
		return "the store has not been reached yet: " + f.Store.Error
	}
	return "the store is lost: " + f.Store.Error
}

// downWords describes how many backends are down or ejected on an instance, by pool.
func downWords(pools []FleetHint) string {
	var words []string
	for _, p := range pools {
		words = append(words, fmt.Sprintf("%s %d/%d", p.Pool, p.Down+p.Ejected, p.Members))
	}
	return strings.Join(words, ", ")
}

// dash returns a dash for no text.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
