// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/ballast-lb/caddy-ballast/internal/schema"
)

// schema prints the JSON schema of the configuration. It needs no running Caddy.
func (c *command) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Prints a JSON schema of the configuration, for editors",
		Long: `
Prints a JSON schema (draft 7) of the JSON configuration of this binary, with all its
modules. An editor completes and checks configurations with it.`,
		Example: "  caddy ballast schema > caddy.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetEscapeHTML(false)
			e.SetIndent("", " ")
			return e.Encode(schema.New())
		},
	}
}
