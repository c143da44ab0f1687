// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The lines of a page between which [Report.Update] writes.
const (
	beginResults = "<!-- results: written by the lab, see below how -->"
	endResults   = "<!-- end of results -->"
)

// Update writes the results into a Markdown page, between its two marks, and copies the pictures
// from the report's folder into a folder with the name of the page beside it.
func (r *Report) Update(page, dir string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), beginResults+"\n")
	_, after, ok2 := strings.Cut(rest, endResults)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", page, beginResults, endResults)
	}
	name := strings.TrimSuffix(filepath.Base(page), ".md")
	pictures := filepath.Join(filepath.Dir(page), name)
	if err := os.RemoveAll(pictures); err != nil {
		return err
	}
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	for _, e := range r.Experiments {
		for _, p := range e.Plots {
			picture, err := os.ReadFile(filepath.Join(dir, p.File))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(pictures, p.File), picture, 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(page, []byte(before+beginResults+"\n"+r.markdown(name)+endResults+after), 0o644)
}

// markdown returns the results, with the pictures in a folder.
func (r *Report) markdown(folder string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe run of %s took %s.\n\n", r.Date, r.Took)
	var facts [][]string
	for _, f := range r.Machine {
		facts = append(facts, []string{f.Name, f.Value})
	}
	table(&b, []string{"machine", ""}, facts)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	for _, e := range r.Experiments {
		fmt.Fprintf(&b, "\n### %s\n\n**%s.** %s\n\n", e.Title, e.Verdict(), e.Setup)
		if e.Origin != "" {
			fmt.Fprintf(&b, "Reported elsewhere: %s\n\n", e.Origin)
		}
		if e.Error != "" {
			fmt.Fprintf(&b, "Not completed: %s\n\n", e.Error)
		}
		var rows [][]string
		for _, f := range e.Findings {
			reported := f.Reported
			if reported == "" {
				reported = "no figure"
			}
			rows = append(rows, []string{f.Claim, reported, f.Seen, f.Verdict()})
		}
		table(&b, []string{"finding", "reported", "seen here", ""}, rows)
		for _, t := range e.Tables {
			fmt.Fprintf(&b, "%s:\n\n", t.Caption)
			table(&b, t.Header, t.Rows)
		}
		for _, remark := range e.Remarks {
			fmt.Fprintf(&b, "- %s\n", remark)
		}
		for _, p := range e.Plots {
			fmt.Fprintf(&b, "\n![%s](%s/%s)\n", p.Caption, folder, p.File)
		}
	}
	b.WriteString("\n")
	return b.String()
}

func table(b *strings.Builder, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}
