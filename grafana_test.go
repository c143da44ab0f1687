// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// The dashboard of Grafana asks for series and labels that there are: docs/metrics.md
// and the pages of features name all of them.
func TestGrafana(t *testing.T) {
	text := read(t, "examples/grafana/dashboard.json")
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil {
		t.Fatal(err)
	}
	var docs strings.Builder
	for _, name := range tree(t, ".md") {
		if strings.HasPrefix(name, "docs/") {
			docs.WriteString(read(t, name))
		}
	}
	series, seen := regexp.MustCompile(`caddy_ballast_\w+`), 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range series.FindAllString(target.Expr, -1) {
				seen++
				if base := strings.TrimSuffix(name, "_bucket"); !strings.Contains(docs.String(), "`"+base+"`") {
					t.Errorf("%s: no page of docs names %s", p.Title, base)
				}
			}
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") {
				t.Errorf("%s: %s", p.Title, target.Expr)
			}
		}
	}
	if seen < 20 {
		t.Errorf("found only %d series", seen)
	}
}
