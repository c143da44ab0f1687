// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layers are the internal packages that features share, from the bottom up. A package imports
// those of lower layers only.
var layers = [][]string{
	{"clip", "clock", "metrics", "names", "panics", "queue", "keepalive", "loadreport", "resolved", "shared", "slowstart", "subset", "caddyfileutil", "httpx", "conformance", "history", "version"},
	{"event", "fleet", "instances", "latency", "mirror", "periodic", "replay", "retry", "rollout", "schema", "shortage"},
	{"group", "health", "hedge", "outlier"},
	{"backend"},
	{"membership", "tiers"},
	{"locality"},
	{"pool"},
	{"persist", "poolmetrics", "report", "proxyhook"},
	{"connections", "lbtest"},
	{"crossing"},
}

// maxPackageLines bounds an internal package without its tests: one concept a package.
const maxPackageLines = 1800

// packages returns the lines of each package of this module, without tests, by its folder.
func packages(t *testing.T) map[string]int {
	t.Helper()
	lines := make(map[string]int)
	for _, s := range sources(t) {
		if !s.test() && !s.root() {
			lines[s.dir()] += s.lines
		}
	}
	return lines
}

func TestInternalImportsGoDown(t *testing.T) {
	layer := make(map[string]int)
	for i, l := range layers {
		for _, name := range l {
			layer["internal/"+name] = i
		}
	}
	top := func(dir string) string { // the package that a nested one belongs to
		parts := strings.Split(dir, "/")
		return strings.Join(parts[:min(2, len(parts))], "/")
	}
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.dir(), "internal/") {
			continue
		}
		own, known := layer[top(s.dir())]
		if !known {
			t.Errorf("%s is in no layer", s.dir())
			continue
		}
		for _, p := range s.imports() {
			other, ours := layer[top(p)]
			switch {
			case !ours || s.test(), strings.HasPrefix(p, s.dir()+"/"): // a nested package serves its parent
			case top(p) == top(s.dir()) && !strings.HasPrefix(s.dir(), p+"/"): // and others that do
			case strings.HasPrefix(s.dir(), top(p)+"/"):
				t.Errorf("%s imports %s, which it lies under", s.name, p)
			case other >= own:
				t.Errorf("%s imports %s; imports go down", s.name, p)
			}
		}
	}
}

func TestInternalPackagesAreSmall(t *testing.T) {
	for dir, n := range packages(t) {
		if strings.Contains("/"+dir, "/internal/") && n > maxPackageLines {
			t.Errorf("%s has %d lines without its tests, more than %d; split it", dir, n, maxPackageLines)
		}
	}
}

// The layout in CONTRIBUTING.md has a line for each package, and none for another folder. Each
// package says in its comment what it is for.
func TestLayout(t *testing.T) {
	data, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, layout, _ := strings.Cut(string(data), "## Layout")
	layout, _, _ = strings.Cut(layout, "\n## ")
	listed := make(map[string]bool)
	parent := ""
	for _, m := range regexp.MustCompile(`(?m)^(  )?([a-z0-9/]+)/ +\S`).FindAllStringSubmatch(layout, -1) {
		dir := m[2]
		if m[1] != "" {
			dir = path.Join(parent, dir)
		} else {
			parent = dir
		}
		listed[dir] = true
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("the layout in CONTRIBUTING.md has %s, which there is not", dir)
		}
	}
	all := sources(t)
	for _, dir := range slices.Sorted(maps.Keys(packages(t))) {
		if !listed[dir] && !strings.HasPrefix(dir, "examples/") {
			t.Errorf("the layout in CONTRIBUTING.md has no line for %s", dir)
		}
		if !slices.ContainsFunc(all, func(s *source) bool {
			return s.dir() == dir && s.Doc != nil && (strings.HasPrefix(s.Doc.Text(), "Package "+path.Base(dir)+" ") || s.Name.Name == "main")
		}) {
			t.Errorf("%s has no comment that begins with \"Package %s\"", dir, path.Base(dir))
		}
	}
}
