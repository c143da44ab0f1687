// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// sampleFlag adds the flag for the time between two samples.
func sampleFlag(flags *pflag.FlagSet) *duration {
	sample := duration(sampleFor)
	flags.Var(&sample, "sample", "time over which REQ/S is measured; 0 for the mean of the last 30 to 60 seconds, at once")
	return &sample
}

func (c *command) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Shows all pools",
		Args:  arguments(0, 0),
	}
	sample := sampleFlag(cmd.Flags())
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, _ []string) error {
		var all Pools
		err := new(sampler).twice(cmd.Context(), c.pause(*sample), func() ([]Pool, error) {
			var err error
			all, err = client.Pools(cmd.Context())
			return all.Pools, err
		})
		if err != nil {
			return err
		}
		return c.print(cmd, all, func(t *textTable) {
			if t.pools(all.Pools); len(all.Pools) == 0 {
				t.line("no pool is configured")
			}
		})
	})
	return cmd
}

// pause returns the time between two samples; JSON has the answer of the API as it is.
func (c *command) pause(sample duration) time.Duration {
	if c.json {
		return 0
	}
	return time.Duration(sample)
}

func (c *command) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show <pool>",
		Short:             "Shows the backends of a pool",
		Args:              arguments(1, 1),
		ValidArgsFunction: c.complete(false),
	}
	sample := sampleFlag(cmd.Flags())
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		var p Pool
		err := new(sampler).twice(cmd.Context(), c.pause(*sample), func() ([]Pool, error) {
			var err error
			p, err = client.Pool(cmd.Context(), args[0])
			return []Pool{p}, err
		})
		if err != nil {
			return err
		}
		return c.print(cmd, p, func(t *textTable) { t.backends(p) })
	})
	return cmd
}

func (c *command) watch() *cobra.Command {
	interval, outputs := duration(time.Second), 0
	cmd := &cobra.Command{
		Use:               "watch [<pool>]",
		Short:             "Shows pools and their backends, and refreshes the output",
		Args:              arguments(0, 1),
		ValidArgsFunction: c.complete(false),
	}
	cmd.Flags().Var(&interval, "interval", "time between two refreshes, over which REQ/S is measured")
	cmd.Flags().IntVar(&outputs, "count", 0, "number of outputs; 0 for no limit")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		if interval < duration(100*time.Millisecond) {
			return errors.New("--interval must be at least 100ms")
		}
		if outputs < 0 {
			return fmt.Errorf("--count must be the number of outputs, or 0 for no limit, got %d", outputs)
		}
		out := cmd.OutOrStdout()
		live := !c.json && terminal(out)
		var rates sampler
		if !c.json { // so that the first output has a rate
			all, err := c.selected(cmd.Context(), client, args)
			if err != nil {
				return err
			}
			rates.set(all.Pools, time.Now())
			if err := wait(cmd.Context(), min(time.Duration(interval), sampleFor)); err != nil {
				return err
			}
		}
		asked := false
		for n := 1; ; n++ {
			all, err := c.selected(cmd.Context(), client, args)
			var view []byte
			var away *AwayError
			switch {
			case err == nil:
				view, err = c.view(cmd, all, &rates)
			case asked && live && errors.As(err, &away): // Caddy may come back
				view, err = []byte(printable(err.Error())+"\n"), nil
			}
			if err != nil {
				return err
			}
			asked = true
			if live {
				_, err = fmt.Fprintf(out, "\x1b[H\x1b[2J%s\n%s", time.Now().Format(time.TimeOnly), view)
			} else {
				_, err = out.Write(view)
			}
			if err != nil || n == outputs {
				return err
			}
			if err := wait(cmd.Context(), time.Duration(interval)); err != nil {
				return err
			}
		}
	})
	return cmd
}

// selected returns the pool that is named, or all.
func (c *command) selected(ctx context.Context, client *Client, args []string) (Pools, error) {
	all, err := client.Pools(ctx)
	if err != nil || len(args) == 0 {
		return all, err
	}
	var names []string
	for _, p := range all.Pools {
		names = append(names, p.Name)
	}
	all.Pools = slices.DeleteFunc(all.Pools, func(p Pool) bool { return p.Name != args[0] })
	if len(all.Pools) == 0 {
		return all, &StatusError{http.StatusNotFound, unknownPool(args[0], names).Error()}
	}
	return all, nil
}

// view returns one output of watch.
func (c *command) view(cmd *cobra.Command, all Pools, rates *sampler) ([]byte, error) {
	if c.json {
		data, err := json.Marshal(all)
		return append(data, '\n'), err
	}
	rates.set(all.Pools, time.Now())
	var b bytes.Buffer
	t := newTable(cmd.OutOrStdout(), c.wide).like(&b)
	for i, p := range all.Pools {
		if i > 0 {
			t.line("")
		}
		t.pools([]Pool{p})
		t.line("")
		t.backends(p)
	}
	err := t.flush()
	return b.Bytes(), err
}

// terminal reports whether a writer is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
