// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What an operator meets is in the documentation, and what the documentation names is
// in the code: options, reasons, events, log messages and metrics.

// shipped returns the files of the plugin, without its tests.
func shipped(t *testing.T) []*source {
	return slices.DeleteFunc(sources(t), func(s *source) bool {
		return s.test() || s.dir() == "internal/lbtest" || s.Name.Name == "main"
	})
}

// configured returns the files that are shipped, and those of the other modules that are linked.
func configured(t *testing.T) []*source {
	all := shipped(t)
	for _, dir := range linked {
		all = append(all, slices.DeleteFunc(sourcesOf(t, dir), func(s *source) bool {
			return s.test() || s.Name.Name == "main"
		})...)
	}
	return all
}

// literal returns the value of a string literal; ok is false for anything else. Of a
// literal that something is added to it is the literal.
func literal(e ast.Expr) (s string, ok bool) {
	if sum, is := e.(*ast.BinaryExpr); is {
		e = sum.X
	}
	lit, is := e.(*ast.BasicLit)
	if !is || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// callee returns the name of the function or method that is called.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// calls yields every call in the files.
func calls(files []*source, yield func(s *source, c *ast.CallExpr)) {
	for _, s := range files {
		ast.Inspect(s.File, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				yield(s, c)
			}
			return true
		})
	}
}

// pages returns all documentation that is written by hand but the decisions and the changelog, by name.
func pages(t *testing.T) map[string]string {
	all := make(map[string]string)
	for _, name := range tree(t, ".md") {
		if !strings.HasPrefix(name, "docs/decisions/") && !strings.HasPrefix(name, "docs/reference") && name != "CHANGELOG.md" && name != "CONTRIBUTING.md" {
			all[name] = read(t, name)
		}
	}
	return all
}

// column returns the code words in the first cell of the rows of the tables of a page
// that have this heading.
func column(page, heading string) (cells []string) {
	table := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(heading) + `[^\n]*\n\|[-|: ]+\n((?:\|[^\n]*\n)*)`)
	for _, m := range table.FindAllStringSubmatch(page, -1) {
		for row := range strings.Lines(m[1]) {
			first, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), " |")
			if whole, ok := strings.CutPrefix(strings.TrimSpace(first), "`` "); ok { // has a backtick in it
				cells = append(cells, strings.TrimSuffix(whole, " ``"))
				continue
			}
			for _, c := range code.FindAllString(first, -1) {
				cells = append(cells, strings.Trim(c, "`"))
			}
		}
	}
	return cells
}

// same checks that what the code has and what a page lists are the same.
func same(t *testing.T, what, page string, has map[string]string, listed []string) {
	t.Helper()
	if len(has) == 0 || len(listed) == 0 {
		t.Fatalf("%s: found %d in the code, %d in %s", what, len(has), len(listed), page)
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if !slices.Contains(listed, name) {
			t.Errorf("%s: %s %q is not in %s", has[name], what, name, page)
		}
	}
	for _, name := range listed {
		if has[name] == "" {
			t.Errorf("%s: there is no %s %q in the code", page, what, name)
		}
	}
}

func TestLogMessagesAreDocumented(t *testing.T) {
	messages, events := make(map[string]string), make(map[string]string)
	levels := []string{"Debug", "Info", "Warn", "Error"}
	event := regexp.MustCompile(`^(backend|pool|fanout|fleet)_[a-z_]+$`)
	files := shipped(t)
	files = append(files, slices.DeleteFunc(sourcesOf(t, "l4"), func(s *source) bool { return s.test() || s.Name.Name == "main" })...)
	calls(files, func(s *source, c *ast.CallExpr) {
		switch name := callee(c); {
		case name == "Check" && len(c.Args) == 2: // of a logger
			if message, ok := literal(c.Args[1]); ok && strings.Contains(s.text[c.Pos()-s.FileStart:c.End()-s.FileStart], "zap") {
				messages[message] = s.name
			}
		case slices.Contains(levels, name) && len(c.Args) > 0:
			if sel := c.Fun.(*ast.SelectorExpr); strings.Contains(s.text[sel.X.Pos()-s.FileStart:sel.X.End()-s.FileStart], "og") {
				if message, ok := literal(c.Args[0]); ok {
					messages[strings.TrimSpace(message)] = s.name
				}
			}
		case name == "emit" && s.dir() == "pool" && len(c.Args) > 3:
			for i, into := range map[int]map[string]string{2: messages, 3: events} {
				if text, ok := literal(c.Args[i]); ok {
					into[text] = s.name
				}
			}
		case name == "Emit" && len(c.Args) > 1:
			if text, ok := literal(c.Args[1]); ok && event.MatchString(text) {
				events[text] = s.name
			}
		}
	})
	same(t, "log message", "docs/logs.md", messages, column(read(t, "docs/logs.md"), "message"))
	for _, s := range shipped(t) { // const failedEvent = "fanout_failed"
		ast.Inspect(s.File, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && strings.HasSuffix(v.Names[0].Name, "Event") && len(v.Values) == 1 {
				if text, ok := literal(v.Values[0]); ok && event.MatchString(text) {
					events[text] = s.name
				}
			}
			return true
		})
	}
	same(t, "event", "docs/pool.md", events, column(read(t, "docs/pool.md"), "event"))
}

func TestReasonsAreDocumented(t *testing.T) {
	reasons := make(map[string]string)
	for _, s := range shipped(t) {
		if s.dir() == "shedder/internal/admission" { // why a limit changes; see shedding.md
			continue
		}
		for _, d := range s.Decls {
			consts, ok := d.(*ast.GenDecl)
			if !ok || consts.Tok != token.CONST {
				continue
			}
			for _, spec := range consts.Specs {
				v := spec.(*ast.ValueSpec)
				if len(v.Values) == 1 && strings.HasPrefix(strings.ToLower(v.Names[0].Name), "reason") {
					if text, ok := literal(v.Values[0]); ok {
						reasons[text] = s.name
					}
				}
			}
		}
	}
	page := read(t, "docs/errors.md")
	listed := column(page, "reason")
	for reason := range reasons { // those of handlers are in the text
		if strings.Contains(page, "`"+reason+"`") && !slices.Contains(listed, reason) {
			listed = append(listed, reason)
		}
	}
	same(t, "reason", "docs/errors.md", reasons, listed)
}

func TestMetricsAreDocumented(t *testing.T) {
	prefixes := make(map[string]string) // of functions that declare series, by directory and name
	files := shipped(t)
	for _, s := range files {
		ast.Inspect(s.File, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			if c, ok := v.Values[0].(*ast.CallExpr); ok && callee(c) == "Group" {
				if prefix, ok := literal(c.Args[0]); ok {
					prefixes[s.dir()+" "+v.Names[0].Name] = "caddy_ballast_" + prefix
				}
			}
			return true
		})
	}
	series := make(map[string]string)
	calls(files, func(s *source, c *ast.CallExpr) {
		prefix, ok := prefixes[s.dir()+" "+callee(c)]
		if !ok || len(c.Args) == 0 {
			return
		}
		if name, ok := literal(c.Args[0]); ok {
			series[prefix+name] = s.name
		}
	})
	var listed []string
	name := regexp.MustCompile(`\bcaddy_ballast_[a-z_0-9]*[a-z0-9]\b[*_]?`)
	suffix := regexp.MustCompile(`_(sum|count|bucket)$`)
	for _, page := range pages(t) {
		for _, found := range name.FindAllString(page, -1) {
			if strings.HasSuffix(found, "_") || strings.HasSuffix(found, "*") { // several
				continue
			}
			if series[found] == "" {
				found = suffix.ReplaceAllString(found, "")
			}
			listed = append(listed, found)
		}
		short := regexp.MustCompile("`(_[a-z_]+)`") // after one that is written out
		for _, found := range short.FindAllStringSubmatch(page, -1) {
			for full := range series {
				if strings.HasSuffix(full, found[1]) {
					listed = append(listed, full)
				}
			}
		}
	}
	slices.Sort(listed)
	same(t, "metric", "the documentation", series, slices.Compact(listed))
}

func TestOptionsAreDocumented(t *testing.T) {
	options := make(map[string]string)
	for _, s := range shipped(t) {
		ast.Inspect(s.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // caddyfileutil.Options{"name": ...}
				typ, ok := n.Type.(*ast.SelectorExpr)
				if !ok || typ.Sel.Name != "Options" {
					return true
				}
				for _, e := range n.Elts {
					if name, ok := literal(e.(*ast.KeyValueExpr).Key); ok {
						options[name] = s.name
					}
				}
			case *ast.AssignStmt: // options["name"] = ...
				for _, left := range n.Lhs {
					index, ok := left.(*ast.IndexExpr)
					if !ok {
						continue
					}
					of, ok := index.X.(*ast.Ident)
					if name, isLiteral := literal(index.Index); ok && isLiteral && strings.HasPrefix(of.Name, "opt") {
						options[name] = s.name
					}
				}
			}
			return true
		})
	}
	var listed []string
	all := ""
	for _, page := range pages(t) {
		all += page
		for _, heading := range []string{"option |", "option of"} {
			for _, c := range column(page, heading) {
				name, _, _ := strings.Cut(c, " ")
				listed = append(listed, name)
			}
		}
	}
	words := make(map[string]bool) // literals and JSON names: some options are parsed by hand, or written in JSON alone
	tag := regexp.MustCompile(`json:"([a-z_]+)`)
	for _, s := range shipped(t) {
		ast.Inspect(s.File, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, ok := literal(lit); ok {
				words[text] = true
			}
			for _, m := range tag.FindAllStringSubmatch(lit.Value, -1) {
				words[m[1]] = true
			}
			return true
		})
	}
	for _, name := range listed {
		if words[name] && options[name] == "" {
			options[name] = "the code"
		}
	}
	// Those of reverse_proxy itself, which errors.md explains, and of the command.
	listed = slices.DeleteFunc(listed, func(name string) bool {
		return strings.HasPrefix(name, "lb_") || strings.HasPrefix(name, "<") || strings.HasPrefix(name, "--")
	})
	for name := range options {
		word := regexp.MustCompile("`" + regexp.QuoteMeta(name) + "[` ]|(?m)^\\s+" + regexp.QuoteMeta(name) + `\b`)
		if word.MatchString(all) {
			listed = append(listed, name)
		}
	}
	same(t, "option", "the documentation", options, listed)
}
