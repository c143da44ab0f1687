// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// The dashboard of Grafana and the alerts ask for series that there are: docs/metrics.md and the
// pages of features name all of them, and only those.
func TestGrafana(t *testing.T) {
	text := read(t, "examples/grafana/dashboard.json")
	var dashboard struct {
		Panels []struct {
			Title       string `json:"title"`
			Description string `json:"description"`
			Targets     []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []struct {
				Name string `json:"name"`
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
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
	exists := func(where, name string) {
		seen++
		if base := strings.TrimSuffix(name, "_bucket"); !strings.Contains(docs.String(), "`"+base+"`") {
			t.Errorf("%s: no page of docs names %s", where, base)
		}
	}
	for _, name := range series.FindAllString(read(t, "examples/prometheus/alerts.yaml"), -1) {
		exists("alerts.yaml", name)
	}
	if seen < 10 {
		t.Errorf("found only %d series in the alerts", seen)
	}
	seen = 0
	check := func(where, expr string) {
		for _, name := range series.FindAllString(expr, -1) {
			exists(where, name)
			if !strings.Contains(expr, name+`{instance=~"$instance"`) {
				t.Errorf("%s: %s is not that of the selected instances", where, name)
			}
		}
	}
	for _, p := range dashboard.Panels {
		if p.Description == "" {
			t.Errorf("%s has no description", p.Title)
		}
		for _, target := range p.Targets {
			check(p.Title, target.Expr)
		}
	}
	for _, a := range dashboard.Annotations.List {
		check(a.Name, a.Expr)
	}
	if seen < 20 {
		t.Errorf("found only %d series", seen)
	}
}
