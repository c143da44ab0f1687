// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func (c *command) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Shows all pools",
		Args:  cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *Client, _ []string) error {
			all, err := client.Pools(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(cmd, all, func(t *textTable) { t.pools(all.Pools) })
		}),
	}
}

func (c *command) show() *cobra.Command {
	return &cobra.Command{
		Use:               "show <pool>",
		Short:             "Shows the backends of a pool",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(false),
		RunE: c.run(func(cmd *cobra.Command, client *Client, args []string) error {
			p, err := client.Pool(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.print(cmd, p, func(t *textTable) { t.backends(p) })
		}),
	}
}

func (c *command) watch() *cobra.Command {
	interval, count := duration(time.Second), 0
	cmd := &cobra.Command{
		Use:               "watch [<pool>]",
		Short:             "Shows pools and their backends, and refreshes the output",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.complete(false),
	}
	cmd.Flags().Var(&interval, "interval", "time between two refreshes")
	cmd.Flags().IntVar(&count, "count", 0, "number of outputs; 0 for no limit")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		if interval < duration(100*time.Millisecond) {
			return errors.New("--interval must be at least 100ms")
		}
		out := cmd.OutOrStdout()
		live := terminal(out) && !c.json
		asked := false
		for n := 1; ; n++ {
			view, err := c.render(cmd, client, args)
			var away *AwayError
			switch {
			case err != nil && (!asked || !live || !errors.As(err, &away)):
				return err
			case err != nil: // Caddy may come back
				view = []byte(printable(err.Error()) + "\n")
			}
			asked = true
			if live {
				_, err = fmt.Fprintf(out, "\x1b[H\x1b[2J%s\n%s", time.Now().Format(time.TimeOnly), view)
			} else {
				_, err = out.Write(view)
			}
			if err != nil || n == count {
				return err
			}
			time.Sleep(time.Duration(interval))
		}
	})
	return cmd
}

// render returns the output for one pool, or for all.
func (c *command) render(cmd *cobra.Command, client *Client, args []string) ([]byte, error) {
	all, err := client.Pools(cmd.Context())
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		var names []string
		for _, p := range all.Pools {
			names = append(names, p.Name)
		}
		all.Pools = slices.DeleteFunc(all.Pools, func(p Pool) bool { return p.Name != args[0] })
		if len(all.Pools) == 0 {
			return nil, &StatusError{http.StatusNotFound, unknownPool(args[0], names).Error()}
		}
	}
	var b bytes.Buffer
	if c.json {
		return append(must(json.Marshal(all)), '\n'), nil
	}
	for i, p := range all.Pools {
		if i > 0 {
			b.WriteByte('\n')
		}
		t := newTable(&b)
		t.pools([]Pool{p})
		if err := t.flush(); err != nil {
			return nil, err
		}
		b.WriteByte('\n')
		t = newTable(&b)
		t.backends(p)
		if err := t.flush(); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// must returns the data of an encoding that cannot fail.
func must(data []byte, _ error) []byte { return data }

// terminal reports whether a writer is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
