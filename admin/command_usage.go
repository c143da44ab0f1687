// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// arguments accepts from least to most arguments. The error shows the usage.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return fmt.Errorf("%s given; write %s", count(len(args), "argument"), cmd.UseLine())
	}
}

// knownCommand returns an error for an unknown subcommand, with a list of the known ones.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	known := "the commands are " + strings.Join(names, ", ")
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		known = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	return fmt.Errorf("there is no command %q; %s", args[0], known)
}

// wrongFlag adds the flags of a command to the error of one that is wrong.
func wrongFlag(cmd *cobra.Command, err error) error {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return fmt.Errorf("%w; the flags of %s are %s", err, cmd.CommandPath(), strings.Join(names, ", "))
}
