// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/ballast-lb/caddy-ballast/lab/report"
)

// repeat compares the reports of several runs, and reports whether the verdicts of all findings
// agree.
func repeat(to io.Writer, dirs []string) (same bool, err error) {
	if len(dirs) < 2 {
		return false, errors.New("repeat compares two reports or more")
	}
	var runs []*report.Report
	for _, dir := range dirs {
		r, err := report.Read(dir)
		if err != nil {
			return false, err
		}
		runs = append(runs, r)
	}
	all := report.Repeat(runs)
	if len(all) == 0 {
		return false, errors.New("the reports have no experiment in common")
	}
	figures, within := 0, 0
	same = true
	for _, r := range all {
		fmt.Fprintf(to, "%s: %d of %d figures are within the spread of the other runs\n", r.Name, r.Within, r.Figures)
		for _, text := range r.Outside {
			fmt.Fprintf(to, "  outside: %s\n", text)
		}
		for _, text := range r.Verdicts {
			fmt.Fprintf(to, "  verdicts differ: %s\n", text)
			same = false
		}
		figures, within = figures+r.Figures, within+r.Within
	}
	fmt.Fprintf(to, "%d of %d figures of %d runs are within the spread of the other runs, or less than %g %% outside\n",
		within, figures, len(runs), 100*report.Tolerance)
	return same, nil
}
