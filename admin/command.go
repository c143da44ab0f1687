// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ballast",
		Usage: "list|show|watch|explain|events|add|remove|drain|maint|ready|weight|rollout|fleet|dashboard|schema [--address <admin address>]",
		Short: "Shows and changes the pools of a running Caddy",
		Long: `
Shows pools and changes their backends at run time, through the admin endpoint
of a running Caddy. Changes apply to new requests, interrupt none, and outlive
reloads. A backend is named by its id.

The exit code is 0 for success, 1 for invalid arguments or a refused request, 2
for an unknown pool or backend, 3 if the admin endpoint is unreachable, and 4 if
a backend was not drained within the time of --wait.`,
		CobraFunc: func(cmd *cobra.Command) { newCommand(cmd) },
	})
}

// Exit codes other than 0.
const (
	exitRefused = 1
	exitUnknown = 2
	exitAway    = 3
	exitBusy    = 4
)

// command is the state that the commands of `caddy ballast` share.
type command struct {
	address string
	config  string // file with the configuration that has the address
	adapter string // of that file
	json    bool
	wide    bool
}

// newCommand adds the commands to root.
func newCommand(root *cobra.Command) {
	c := new(command)
	root.Args, root.SuggestionsMinimumDistance = knownCommand, 2
	root.SetFlagErrorFunc(wrongFlag)
	root.PersistentFlags().StringVar(&c.address, "address", "", "address of the admin endpoint (default "+caddy.DefaultAdminListen+")")
	root.PersistentFlags().StringVar(&c.config, "config", "", "configuration file that names the admin endpoint, as for caddy reload; --address takes precedence")
	root.PersistentFlags().StringVar(&c.adapter, "adapter", "", "config adapter of the file, as for caddy reload")
	root.PersistentFlags().BoolVar(&c.wide, "wide", false, "print all columns of a table, also those that are empty or too wide for the terminal")
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print the JSON of the admin API")
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.AddCommand(c.list(), c.show(), c.watch(), c.explain(), c.events(), c.rollout(), c.fleet(), c.dashboard(), c.schema(), c.add(), c.remove(), c.drain(), c.weight(),
		c.state("maint", "Takes a backend out of service, also for its sessions"),
		c.state("ready", "Returns a backend to service"))
}

// errBusy means that a backend did not drain in time.
var errBusy = errors.New("the backend was not drained in time")

// run returns a cobra command function that calls f with a client.
func (c *command) run(f func(cmd *cobra.Command, client *Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		client, err := c.client()
		if err == nil {
			err = f(cmd, client, args)
		}
		code := exitCode(err)
		if code == 0 {
			return nil
		}
		cmd.PrintErrln("Error:", printable(err.Error()))
		if code == exitRefused {
			return err
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
}

func (c *command) client() (*Client, error) {
	if c.adapter != "" && c.config == "" {
		return nil, errors.New("--adapter is that of a file; write --config <file> as well")
	}
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil, err
	}
	return NewClient(address)
}

func exitCode(err error) int {
	var status *StatusError
	var away *AwayError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBusy):
		return exitBusy
	case errors.As(err, &away):
		return exitAway
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return exitUnknown
	}
	return exitRefused
}

// print prints v as JSON with --json, else calls table.
func (c *command) print(cmd *cobra.Command, v any, table func(t *textTable)) error {
	if c.json {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := newTable(cmd.OutOrStdout(), c.wide)
	table(t)
	return t.flush()
}

// complete completes the name of a pool and, with backends, the id of a backend.
func (c *command) complete(backends bool) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) (all []string, _ cobra.ShellCompDirective) {
		client, err := c.client()
		if err != nil || len(args) > 1 || len(args) == 1 && !backends {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		pools, err := client.Pools(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, p := range pools.Pools {
			if len(args) == 0 {
				all = append(all, p.Name)
				continue
			}
			for _, b := range p.Backends {
				if p.Name == args[0] {
					all = append(all, cobra.CompletionWithDesc(b.ID, fmt.Sprintf("%s, %s", b.Address, b.State)))
				}
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// seconds formats a time in seconds.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}
