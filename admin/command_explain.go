// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) explain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <pool>",
		Short: "Says which backend a request would get now, and why",
		Long: "Says which backend a request would get now from the policy of each proxy of the pool, with the\n" +
			"chance of every backend, the figures that the policy compares, and why others get nothing. It\n" +
			"reserves, counts and learns nothing.",
		Example: "  caddy ballast explain web\n" +
			"  caddy ballast explain web --uri /cart --client-ip 192.0.2.7 --header 'Cookie: ballast=...'",
		Args:              arguments(1, 1),
		ValidArgsFunction: c.complete(false),
	}
	flags := cmd.Flags()
	flags.String("client-ip", "", "address of the client (default 127.0.0.1)")
	flags.String("uri", "", "path and query (default /)")
	flags.String("method", "", "method (default GET)")
	flags.String("host", "", "host name (default localhost)")
	headers := flags.StringArray("header", nil, "header field such as 'X-Tenant: a'; repeatable")
	cmd.RunE = c.run(func(cmd *cobra.Command, client *Client, args []string) error {
		values := make(url.Values)
		for _, name := range []string{"client-ip", "uri", "method", "host"} {
			if f := flags.Lookup(name); f.Changed {
				values.Set(strings.ReplaceAll(name, "-", "_"), f.Value.String())
			}
		}
		for _, h := range *headers {
			values.Add("header", h)
		}
		e, err := client.Explain(cmd.Context(), args[0], values)
		if err != nil {
			return err
		}
		return c.print(cmd, e, func(t *textTable) {
			t.explanation(e.Explanation)
			for _, other := range e.Others {
				t.line("")
				t.line("In another proxy with this pool:")
				t.explanation(other)
			}
		})
	})
	return cmd
}

// explanation prints which backend a request would get from one proxy, and the candidates.
func (t *textTable) explanation(e Explanation) {
	chosen := e.Backend
	if chosen == "" {
		chosen = "no backend"
	}
	t.line("%s: %s", chosen, e.Why)
	if len(e.Candidates) == 0 {
		return
	}
	t.line("")
	t.row("BACKEND", "ADDRESS", "STATE", "TIER", "WEIGHT", "CHANCE", "FIGURES", "PASSED OVER")
	t.leaveOut("TIER", "ADDRESS", "WEIGHT", "FIGURES")
	for _, b := range e.Candidates {
		t.row(b.ID, otherThan(b.ID, b.Address), stateWords(b.State), tier(b.Tier, b.Backup), round(b.Weight), fmt.Sprintf("%.0f %%", 100*b.Odds), dash(figures(b.Score)), b.PassedOver)
	}
}

// figures describes the score of a candidate.
func figures(score map[string]float64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(score)) {
		value := fmt.Sprint(round(score[name]))
		if plain, ok := strings.CutSuffix(name, "_seconds"); ok {
			name, value = plain, seconds(score[name])
		}
		words = append(words, strings.ReplaceAll(name, "_", " ")+" "+value)
	}
	return strings.Join(words, ", ")
}
