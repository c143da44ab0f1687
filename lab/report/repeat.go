// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Tolerance is how far a median may lie outside the spread of other runs and still agree with them,
// as a share of the ends of the spread. By chance alone, the median of three rounds is outside the
// range of six others in one of six cases.
const Tolerance = 0.05

// Read reads the report.json of a folder.
func Read(dir string) (*Report, error) {
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, err
	}
	r := new(Report)
	return r, json.Unmarshal(data, r)
}

// Repeated describes how well the runs of one experiment agree.
type Repeated struct {
	// Name is the name of the experiment.
	Name string
	// Figures counts the figures of its tables, and Within those whose median in each run is within
	// the spread of the other runs.
	Figures, Within int
	// Outside describes the other figures.
	Outside []string
	// Verdicts describes the findings that do not have the same verdict in all runs.
	Verdicts []string
}

// spread is a figure in the format of [Figure.String].
type spread struct{ median, least, most float64 }

var spreadText = regexp.MustCompile(`^(-?[0-9.]+)(?: \((-?[0-9.]+) to (-?[0-9.]+)\))?$`)

// parseSpread parses a cell of a table; ok is false if the cell is not a figure.
func parseSpread(text string) (s spread, ok bool) {
	m := spreadText.FindStringSubmatch(text)
	if m == nil {
		return s, false
	}
	var err error
	if s.median, err = strconv.ParseFloat(m[1], 64); err != nil {
		return s, false
	}
	s.least, s.most = s.median, s.median
	if m[2] != "" {
		s.least, _ = strconv.ParseFloat(m[2], 64)
		s.most, _ = strconv.ParseFloat(m[3], 64)
	}
	return s, true
}

// within reports whether the median of each run is within the spread of the others.
func within(runs []spread) bool {
	for i, own := range runs {
		least, most := math.Inf(1), math.Inf(-1)
		for j, other := range runs {
			if j != i {
				least, most = min(least, other.least), max(most, other.most)
			}
		}
		if own.median < least-Tolerance*math.Abs(least) || own.median > most+Tolerance*math.Abs(most) {
			return false
		}
	}
	return true
}

// Repeat compares runs of the same experiments. Experiments that are not in all runs are left out.
func Repeat(runs []*Report) (all []Repeated) {
	if len(runs) == 0 {
		return nil
	}
	for _, e := range runs[0].Experiments {
		same := sameExperiment(runs, e.Name)
		if len(same) < len(runs) {
			continue
		}
		r := Repeated{Name: e.Name}
		r.compareTables(same)
		r.compareFindings(same)
		all = append(all, r)
	}
	return all
}

func sameExperiment(runs []*Report, name string) (same []Experiment) {
	for _, r := range runs {
		for _, e := range r.Experiments {
			if e.Name == name {
				same = append(same, e)
			}
		}
	}
	return same
}

// compareTables counts the figures in the tables of one experiment.
func (r *Repeated) compareTables(runs []Experiment) {
	for t, table := range runs[0].Tables {
		for i, row := range table.Rows {
			for k := range row {
				r.compareCells(runs, t, i, k)
			}
		}
	}
}

// compareCells compares one cell of all runs.
func (r *Repeated) compareCells(runs []Experiment, table, row, column int) {
	var figures []spread
	var texts []string
	for _, e := range runs {
		if table >= len(e.Tables) || row >= len(e.Tables[table].Rows) || column >= len(e.Tables[table].Rows[row]) {
			return
		}
		text := e.Tables[table].Rows[row][column]
		s, ok := parseSpread(text)
		if !ok {
			return
		}
		figures, texts = append(figures, s), append(texts, text)
	}
	r.Figures++
	if within(figures) {
		r.Within++
		return
	}
	first := runs[0].Tables[table]
	header := ""
	if column < len(first.Header) {
		header = first.Header[column]
	}
	r.Outside = append(r.Outside, fmt.Sprintf("%s, %s: %s", first.Rows[row][0], header, strings.Join(texts, "; ")))
}

// compareFindings finds the findings whose verdicts differ.
func (r *Repeated) compareFindings(runs []Experiment) {
	for i, f := range runs[0].Findings {
		var verdicts []string
		same := true
		for _, e := range runs {
			if i >= len(e.Findings) {
				return
			}
			verdicts = append(verdicts, e.Findings[i].Verdict())
			same = same && e.Findings[i].Verdict() == f.Verdict()
		}
		if !same {
			r.Verdicts = append(r.Verdicts, fmt.Sprintf("%s: %s", f.Claim, strings.Join(verdicts, ", ")))
		}
	}
}
