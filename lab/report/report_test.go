// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An experiment passes if it was completed and its findings hold, unless they are unknown.
func TestPassed(t *testing.T) {
	good, bad, unknown := Finding{Pass: true}, Finding{}, Finding{Unknown: true}
	for _, c := range []struct {
		e    Experiment
		want bool
	}{
		{Experiment{Findings: []Finding{good, good}}, true},
		{Experiment{Findings: []Finding{good, bad}}, false},
		{Experiment{Findings: []Finding{good}, Error: "x"}, false},
		{Experiment{Findings: []Finding{good, unknown}}, true},
		{Experiment{Findings: []Finding{bad, unknown}}, false},
		{Experiment{Findings: []Finding{unknown}}, false},
		{Experiment{}, false},
	} {
		if got := c.e.Passed(); got != c.want {
			t.Errorf("%+v: %v", c.e, got)
		}
	}
}

// texts returns the texts of an SVG, which must be well-formed.
func texts(t *testing.T, file string) (all []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	inside := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inside = e.Name.Local == "text"
		case xml.EndElement:
			inside = false
		case xml.CharData:
			if inside {
				all = append(all, string(e))
			}
		}
	}
}

func TestChartsHaveTheirTexts(t *testing.T) {
	dir := t.TempDir()
	series := []Series{{"one", []Point{{0, 1}, {1, 5}, {2, 90}}}, {"two", []Point{{0, 0}, {3, 7}}}, {"empty", nil}}
	for name, c := range map[string]interface{ Save(string) error }{
		"lines": Chart{Title: "T", X: "time (s)", Y: "answers (1/s)", Series: series, Bands: []Band{{"down", 1, 2}}, Steps: true},
		"logs":  Chart{Title: "T", X: "time (s)", Y: "answers (1/s)", Series: series, Bands: []Band{{"down", 1, 2}}, LogX: true, LogY: true},
		"bars": BarChart{Title: "T", X: "time (s)", Y: "answers (1/s)", Groups: []string{"down", "g2"},
			Series: []Bars{{"one", []float64{1, 2}}, {"two", []float64{3, 0}}}},
		"nothing": Chart{Title: "T", X: "time (s)", Y: "answers (1/s)", Series: []Series{{Name: "none"}}},
	} {
		file := filepath.Join(dir, name+".svg")
		if err := c.Save(file); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		all := texts(t, file)
		want := []string{"T", "time (s)", "answers (1/s)", "one", "two", "down"}
		if name == "nothing" {
			want = want[:3]
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(all, "\n"), w) {
				t.Errorf("%s: no text %q in %q", name, w, all)
			}
		}
	}
}

// No axis has so many labels that they overlap.
func TestTicks(t *testing.T) {
	for high := 0.001; high < 1e7; high *= 1.37 {
		n := 0
		for _, tick := range (roundTicks{}).Ticks(0, high) {
			if tick.Value < 0 || tick.Value > high*1.0001 {
				t.Errorf("up to %v: a tick at %v", high, tick.Value)
			}
			if strings.HasPrefix(tick.Label, "-") {
				t.Errorf("up to %v: a tick %q", high, tick.Label)
			}
			if tick.Label != "" {
				n++
			}
		}
		if n < 3 || n > 8 {
			t.Errorf("up to %v: %d labels", high, n)
		}
	}
	for _, ends := range [][2]float64{{0.1, 1000}, {3, 60}, {12, 80}, {15, 990}} {
		var labels []string
		for _, tick := range (logTicks{}).Ticks(ends[0], ends[1]) {
			if tick.Label != "" && tick.Value >= ends[0] && tick.Value <= ends[1] {
				labels = append(labels, tick.Label)
			}
		}
		if len(labels) < 2 || len(labels) > 7 || len(slices.Compact(slices.Sorted(slices.Values(labels)))) != len(labels) {
			t.Errorf("from %v to %v: %v", ends[0], ends[1], labels)
		}
	}
	if lead(1000) != 1 || lead(0.02) != 2 || math.Abs(lead(57)-6) > 1 {
		t.Error("the first digits are wrong")
	}
}

func TestReportIsWritten(t *testing.T) {
	dir := t.TempDir()
	r := &Report{Title: "Lab", Notes: []string{"a <note>"}, Experiments: []Experiment{{
		Name: "x", Title: "An experiment", Origin: "half", Findings: []Finding{{Claim: "halves", Seen: "0.4", Pass: true}, {Claim: "doubles", Seen: "1.1"}},
		Tables: []Table{{Caption: "c", Header: []string{"h"}, Rows: [][]string{{"v1"}}}}, Plots: []Plot{{"x.svg", "a plot"}}, Remarks: []string{"since"},
	}}}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a &lt;note&gt;", "An experiment", "halves", "0.4", "x.svg", "v1", "since", `class="fail"`, `class="pass"`} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(string(page), "http") {
		t.Error("the page loads external resources")
	}
	var out strings.Builder
	r.Experiments[0].Print(&out)
	for _, want := range []string{"PASS  halves: 0.4", "FAIL  doubles: 1.1", "reported: half", "v1", "- since"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}

// The results of a page are replaced, with its pictures, and the rest of the page stays.
func TestUpdate(t *testing.T) {
	dir, docs := t.TempDir(), t.TempDir()
	page := filepath.Join(docs, "lab.md")
	if err := os.WriteFile(page, []byte("# Lab\n\n"+beginResults+"\nold\n"+endResults+"\n\nEnd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.svg"), []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &Report{Date: "today", Experiments: []Experiment{{Name: "x", Title: "An experiment",
		Findings: []Finding{{Claim: "halves", Seen: "0.4", Pass: true}}, Plots: []Plot{{"x.svg", "a plot"}}}}}
	for range 2 {
		if err := r.Update(page, dir); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(page)
	for _, want := range []string{"# Lab\n", "The run of today", "| halves | no figure | 0.4 | pass |", "![a plot](lab/x.svg)", "\n\nEnd\n"} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is not once in %s", want, text)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Error("the former results are still there")
	}
	if _, err := os.Stat(filepath.Join(docs, "lab", "x.svg")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(page, []byte("# Lab\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(page, dir); err == nil {
		t.Error("a page without marks is accepted")
	}
}
