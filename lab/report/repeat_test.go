// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"testing"
)

// one returns a report with one figure and one finding.
func one(figure string, pass bool) *Report {
	return &Report{Experiments: []Experiment{{
		Name:     "x",
		Findings: []Finding{{Claim: "it holds", Pass: pass}},
		Tables:   []Table{{Header: []string{"", "p99 ms"}, Rows: [][]string{{"a", figure}}}},
	}}}
}

func TestRepeat(t *testing.T) {
	for name, tt := range map[string]struct {
		figures []string
		within  bool
	}{
		"the same":                      {[]string{"5", "5", "5"}, true},
		"in the spread of one other":    {[]string{"10 (9 to 12)", "11 (10 to 13)", "30 (9.5 to 31)"}, false}, // 30 is in none
		"in the spreads of the others":  {[]string{"10 (9 to 12)", "11 (10 to 13)", "12.5 (9.5 to 14)"}, true},
		"just outside":                  {[]string{"10", "10", "10.4"}, true},
		"outside":                       {[]string{"10", "10", "10.6"}, false},
		"outside, and less":             {[]string{"10", "10", "9.4"}, false},
		"none, and one":                 {[]string{"0", "0", "1"}, false},
		"spreads that contain the same": {[]string{"0 (0 to 1)", "0", "1 (0 to 1)"}, true},
	} {
		var runs []*Report
		for _, f := range tt.figures {
			runs = append(runs, one(f, true))
		}
		got := Repeat(runs)
		if len(got) != 1 || got[0].Figures != 1 || (got[0].Within == 1) != tt.within || (len(got[0].Outside) == 0) != tt.within {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := Repeat([]*Report{one("5", true), one("none", false)}); got[0].Figures != 0 ||
		!slices.Equal(got[0].Verdicts, []string{"it holds: pass, fail"}) {
		t.Errorf("%+v", got)
	}
	if got := Repeat([]*Report{one("5", true), {}}); got != nil {
		t.Errorf("an experiment of one run alone: %+v", got)
	}
}
