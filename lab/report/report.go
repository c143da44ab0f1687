// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package report writes the results of experiments: in the terminal, and as one self-contained HTML
// page with plots.
package report

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
)

// Report is the result of a run.
type Report struct {
	Title string
	// Date and Took are when the experiments ran, and for how long.
	Date, Took string
	Machine    []machine.Fact
	// Notes are on the network and on the quality of the figures.
	Notes       []string
	Experiments []Experiment
}

// Experiment is one section of a report.
type Experiment struct {
	// Name is a word for file names and links.
	Name, Title string
	// Setup describes the experiment, and Origin the published results.
	Setup, Origin string
	Findings      []Finding
	Tables        []Table
	Plots         []Plot
	// Remarks explain how and why the result differs.
	Remarks []string
	// Error is why the experiment could not be completed; "" if it was.
	Error string
}

// Finding is a claim with the measured result.
type Finding struct {
	Claim string
	// Reported is the published figure; "" without one.
	Reported string
	Seen     string
	Pass     bool
	// Unknown means that this machine cannot show whether the claim holds.
	Unknown bool `json:",omitempty"`
}

// Table is a table of figures.
type Table struct {
	Caption string
	Header  []string
	Rows    [][]string
}

// Plot is a picture beside the report.
type Plot struct{ File, Caption string }

// Passed reports whether the experiment was completed, its findings hold except for unknown ones,
// and not all are unknown.
func (e Experiment) Passed() bool {
	known := 0
	for _, f := range e.Findings {
		if f.Unknown {
			continue
		}
		if !f.Pass {
			return false
		}
		known++
	}
	return e.Error == "" && known > 0
}

// Verdict is pass or fail.
func (e Experiment) Verdict() string { return verdict(e.Passed()) }

// Verdict is pass, fail or unknown.
func (f Finding) Verdict() string {
	if f.Unknown {
		return "unknown"
	}
	return verdict(f.Pass)
}

func verdict(pass bool) string {
	if pass {
		return "pass"
	}
	return "fail"
}

// Print writes an experiment for a terminal.
func (e Experiment) Print(to io.Writer) {
	fmt.Fprintf(to, "\n%s: %s\n%s\n", e.Name, e.Title, e.Setup)
	for _, t := range e.Tables {
		fmt.Fprintln(to)
		w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, strings.Join(t.Header, "\t"))
		for _, row := range t.Rows {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		w.Flush()
	}
	fmt.Fprintln(to)
	if e.Origin != "" {
		fmt.Fprintf(to, "reported: %s\n", e.Origin)
	}
	for _, f := range e.Findings {
		fmt.Fprintf(to, "%s  %s: %s", strings.ToUpper(f.Verdict()), f.Claim, f.Seen)
		if f.Reported != "" {
			fmt.Fprintf(to, " (reported: %s)", f.Reported)
		}
		fmt.Fprintln(to)
	}
	for _, r := range e.Remarks {
		fmt.Fprintf(to, "- %s\n", r)
	}
	if e.Error != "" {
		fmt.Fprintf(to, "NOT COMPLETED: %s\n", e.Error)
	}
}

//go:embed page.html
var pages embed.FS

var page = template.Must(template.New("page.html").ParseFS(pages, "page.html"))

// Write writes index.html and report.json into a folder, beside the pictures.
func (r *Report) Write(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return page.Execute(file, r)
}
