// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// The rules of the repository that a compiler does not keep (CONTRIBUTING.md).

const module = "github.com/ballast-lb/caddy-ballast"

// maxLines bounds a file that is no test: one concept a file.
const maxLines = 400

// pureFiles hold algorithms, which must be testable without Caddy.
var pureFiles = []string{
	"fanout/backoff.go",
	"fanout/quorum.go",
	"fanout/report.go",
	"healthcheck/agent_words.go",
	"healthcheck/expect.go",
	"internal/proxyhook/orca/binary.go",
	"internal/proxyhook/orca/fields.go",
	"internal/proxyhook/orca/json.go",
	"internal/proxyhook/orca/metric.go",
	"internal/proxyhook/orca/orca.go",
	"internal/proxyhook/orca/text.go",
	"internal/backend/counters.go",
	"internal/clip/clip.go",
	"internal/clock/clock.go",
	"internal/health/agent.go",
	"internal/health/guard.go",
	"internal/health/record.go",
	"internal/health/status.go",
	"internal/fleet/outgoing/backfill.go",
	"internal/fleet/outgoing/pending.go",
	"internal/fleet/record/batch.go",
	"internal/fleet/record/record.go",
	"internal/keepalive/keepalive.go",
	"internal/keepalive/timeout.go",
	"internal/locality/balance.go",
	"internal/subset/subset.go",
	"internal/latency/ewma.go",
	"internal/latency/histogram.go",
	"internal/latency/tracker.go",
	"internal/outlier/ejection.go",
	"internal/outlier/ejection_record.go",
	"internal/outlier/interval.go",
	"internal/outlier/outcome.go",
	"internal/outlier/rules.go",
	"internal/outlier/slow.go",
	"internal/outlier/stall.go",
	"internal/persist/operator.go",
	"internal/persist/restore.go",
	"internal/persist/snapshot.go",
	"internal/replay/buffer.go",
	"internal/replay/replay.go",
	"internal/retry/budget.go",
	"internal/rollout/counts.go",
	"internal/rollout/draw.go",
	"internal/rollout/judge.go",
	"internal/rollout/report.go",
	"internal/rollout/rollout.go",
	"internal/rollout/sequential.go",
	"internal/slowstart/ramp.go",
	"internal/httpx/status.go",
	"selection/alias.go",
	"selection/keyed.go",
	"selection/maglev_table.go",
	"selection/rendezvous_table.go",
	"selection/ring.go",
	"selection/schedule.go",
	"selection/table.go",
	"shedder/internal/admission/aimd.go",
	"shedder/internal/admission/base.go",
	"shedder/internal/admission/counts.go",
	"shedder/internal/admission/fixed.go",
	"shedder/internal/admission/gate.go",
	"shedder/internal/admission/gradient.go",
	"shedder/internal/admission/level.go",
	"shedder/internal/admission/level_queues.go",
	"shedder/internal/admission/departures.go",
	"shedder/internal/admission/pressure.go",
	"shedder/internal/admission/state.go",
	"shedder/internal/admission/vegas.go",
	"shedder/internal/admission/sample_window.go",
	"sticky/binding.go",
	"sticky/session_stats.go",
	"sticky/store_breaker.go",
	"sticky/shard.go",
	"sticky/hyperloglog.go",
	"sticky/overload_detector.go",
	"sticky/store.go",
	"sticky/table.go",
	"sticky/token.go",
}

// source is one Go file of this module.
type source struct {
	name  string // relative, with slashes
	text  string
	lines int
	*ast.File
}

func (s *source) dir() string { return path.Dir(s.name) }
func (s *source) test() bool  { return strings.HasSuffix(s.name, "_test.go") }
func (s *source) root() bool  { return s.dir() == "." }

// internal reports whether the file is in an internal package, be it one of all or
// one of a feature.
func (s *source) internal() bool { return strings.Contains("/"+s.name, "/internal/") }
func (s *source) feature() bool  { return !s.root() && !s.internal() && s.Name.Name != "main" }

// imports returns the paths of the file's imports; those of this module are
// relative to it.
func (s *source) imports() (paths []string) {
	for _, i := range s.Imports {
		p := strings.Trim(i.Path.Value, `"`)
		if p == module {
			p = "."
		}
		paths = append(paths, strings.TrimPrefix(p, module+"/"))
	}
	return paths
}

// tree returns the files of this module, but of no module inside it, whose
// names end so.
func tree(t *testing.T, suffix string) []string {
	t.Helper()
	return treeOf(t, ".", suffix)
}

// treeOf returns those of the module in a directory.
func treeOf(t *testing.T, dir, suffix string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			_, noModule := os.Stat(filepath.Join(name, "go.mod"))
			if name != dir && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "node_modules" || noModule == nil && suffix == ".go") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, suffix) {
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("found no %s (%v)", suffix, err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sources(t *testing.T) []*source {
	t.Helper()
	return sourcesOf(t, ".")
}

// sourcesOf returns the files of the module in a directory.
func sourcesOf(t *testing.T, dir string) (all []*source) {
	t.Helper()
	for _, name := range treeOf(t, dir, ".go") {
		text := read(t, name)
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &source{name, text, strings.Count(text, "\n"), file})
	}
	return all
}

func TestImportsGoOneWay(t *testing.T) {
	all := sources(t)
	features, suites := make(map[string]bool), make(map[string]bool)
	for _, s := range all {
		if s.feature() {
			features[s.dir()] = true
			suites[s.dir()] = strings.Contains(s.dir(), "/") && strings.HasSuffix(s.dir(), "test")
		}
	}
	for _, s := range all {
		if s.test() {
			continue
		}
		for _, p := range s.imports() {
			feature := features[p]
			switch {
			case feature && s.internal():
				t.Errorf("%s imports %s; internal packages serve features and know none", s.name, p)
			case suites[p], p == "internal/conformance" && !suites[s.dir()]:
				t.Errorf("%s imports %s; only tests run conformance suites", s.name, p)
			case suites[s.dir()] && p == path.Dir(s.dir()): // what it tests
			case feature && features[s.dir()] && p != s.dir() && !(s.dir() == "pool" && (p == "healthcheck" || p == "fleet" || p == "discovery")):
				t.Errorf("%s imports %s; features do not import each other, except that pool assembles healthcheck, fleet and discovery", s.name, p)
			case p == "pool" && !s.root():
				t.Errorf("%s imports pool; only the root does", s.name)
			case p == "." && s.Name.Name != "main":
				t.Errorf("%s imports the root, which imports it", s.name)
			case strings.HasSuffix(p, "caddyconfig/httpcaddyfile") && !s.root() && s.dir() != "internal/lbtest":
				t.Errorf("%s imports httpcaddyfile; directives and options are registered in the root", s.name)
			case strings.HasPrefix(p, "github.com/caddyserver/") && slices.Contains(pureFiles, s.name):
				t.Errorf("%s imports %s; pure files import no Caddy", s.name, p)
			case p == "internal/lbtest":
				t.Errorf("%s imports %s; only tests do", s.name, p)
			}
		}
	}
	for _, name := range pureFiles {
		if !slices.ContainsFunc(all, func(s *source) bool { return s.name == name }) {
			t.Errorf("%s is listed as a pure file, but there is no such file", name)
		}
	}
}

func TestFiles(t *testing.T) {
	const header = "// Copyright 2026 The Ballast Authors\n// SPDX-License-Identifier: Apache-2.0\n\n"
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.text, header) {
			t.Errorf("%s does not begin with the two lines of the licence and an empty one", s.name)
		}
		if !s.test() && s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d; split it", s.name, s.lines, maxLines)
		}
	}
}

// receiver returns the name of the type that f is a method of.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	switch i := typ.(type) { // of a generic type
	case *ast.IndexExpr:
		typ = i.X
	case *ast.IndexListExpr:
		typ = i.X
	}
	name, _ := typ.(*ast.Ident)
	return name.Name
}

func TestModules(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.dir() == "internal/lbtest" {
			continue
		}
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			switch typ := receiver(f); f.Name.Name {
			case "UnmarshalCaddyfile":
				if !strings.Contains(f.Doc.Text(), "Syntax:") {
					t.Errorf("%s: UnmarshalCaddyfile of %s has no comment with its Syntax:", s.name, typ)
				}
			case "CaddyModule":
				guard := regexp.MustCompile(`(?m)^\s*(var )?_\s+[\w.]+\s*=\s*(\(\*` + typ + `\)\(nil\)|` + typ + `\{\})`)
				if !guard.MatchString(s.text) {
					t.Errorf("%s: module %s has no interface guards", s.name, typ)
				}
			}
		}
	}
}

func TestExportedIsDocumented(t *testing.T) {
	documented := make(map[string]bool) // packages
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		documented[s.dir()] = documented[s.dir()] || s.Doc != nil
		undocumented := func(of, name string, docs ...*ast.CommentGroup) {
			if ast.IsExported(name) && !slices.ContainsFunc(docs, func(g *ast.CommentGroup) bool { return g.Text() != "" }) {
				t.Errorf("%s: %s has no comment", s.name, strings.TrimPrefix(of+"."+name, "."))
			}
		}
		for _, d := range s.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if recv := receiver(d); recv == "" || ast.IsExported(recv) {
					undocumented(recv, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							undocumented("", name.Name, d.Doc, spec.Doc, spec.Comment)
						}
					case *ast.TypeSpec:
						undocumented("", spec.Name.Name, d.Doc, spec.Doc, spec.Comment)
						if !spec.Name.IsExported() {
							continue
						}
						var fields *ast.FieldList
						switch typ := spec.Type.(type) {
						case *ast.StructType:
							fields = typ.Fields
						case *ast.InterfaceType:
							fields = typ.Methods
						default:
							continue
						}
						for _, field := range fields.List {
							for _, name := range field.Names {
								undocumented(spec.Name.Name, name.Name, field.Doc, field.Comment)
							}
						}
					}
				}
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", dir)
		}
	}
}

// requirement is one line of a go.mod.
type requirement struct {
	version string
	direct  bool
}

var requireLine = regexp.MustCompile(`(?m)^(?:\t|require )([\w.~/-]+) (v\S+)( // indirect)?$`)

func requirements(goMod string) map[string]requirement {
	all := make(map[string]requirement)
	for _, m := range requireLine.FindAllStringSubmatch(goMod, -1) {
		all[m[1]] = requirement{m[2], m[3] == ""}
	}
	return all
}

// Whoever builds a Caddy with Ballast gets the modules that Caddy was tested
// with, at the versions that it was tested with.
func TestRequiresOnlyWhatCaddyDoes(t *testing.T) {
	const caddyModule = "github.com/caddyserver/caddy/v2"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", caddyModule).Output()
	if err != nil {
		t.Fatal(err)
	}
	goMod := read(t, "go.mod")
	ours, caddys := requirements(goMod), requirements(read(t, strings.TrimSpace(string(out))))
	if len(ours) < 3 || len(caddys) < 20 {
		t.Fatalf("read only %d and %d requirements", len(ours), len(caddys))
	}
	for name, our := range ours {
		its, known := caddys[name]
		switch {
		case name == caddyModule:
		case known && its.version != our.version:
			t.Errorf("go.mod requires %s %s, and Caddy %s", name, our.version, its.version)
		case our.direct && !known:
			t.Errorf("go.mod requires %s, which Caddy does not; put what needs it in a module of its own", name)
		}
	}
	if m := regexp.MustCompile(`(?m)^(replace|exclude|tool)\b.*`).FindString(goMod); m != "" {
		t.Errorf("go.mod has %q, which does not reach those who build a Caddy with it, or burdens them", m)
	}
}

var (
	fence    = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code     = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns what a link into a page may point to, as GitHub makes it.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		text := strings.ToLower(linkText.ReplaceAllString(m[1], "$1"))
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
				return r
			}
			return -1
		}, text)] = true
	}
	return all
}

func TestLinksResolve(t *testing.T) {
	for _, name := range tree(t, ".md") {
		text := code.ReplaceAllString(fence.ReplaceAllString(read(t, name), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			target := name
			if u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
				continue
			}
			if u.Fragment != "" && strings.HasSuffix(target, ".md") && !anchors(read(t, target))[u.Fragment] {
				t.Errorf("%s links to %s, but %s has no such heading", name, m[1], target)
			}
		}
	}
}

func TestModulesAreDocumented(t *testing.T) {
	index := read(t, "docs/README.md")
	var pages []string
	for _, name := range tree(t, ".md") {
		if strings.HasPrefix(name, "docs/") {
			pages = append(pages, read(t, name))
		}
	}
	ours := 0
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(info.New())
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		pkg := typ.PkgPath()
		if !strings.HasPrefix(pkg, module+"/") || strings.HasPrefix(pkg, module+"/internal/") {
			continue
		}
		ours++
		row := regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(id) + "`")
		if !row.MatchString(index) {
			t.Errorf("docs/README.md has no row of a table for `%s`", id)
		}
		if !slices.ContainsFunc(pages, func(page string) bool { return strings.Contains(page, "`"+id+"`") }) {
			t.Errorf("no page under docs/ names `%s`", id)
		}
	}
	if ours < 8 {
		t.Errorf("found only %d modules of Ballast", ours)
	}
}

// TestTables tests that the rows of a table have as many cells as its head: a bar within code begins
// another cell, and a second line of dashes is a row.
func TestTables(t *testing.T) {
	dashes := regexp.MustCompile(`^\|(?: ?:?-+:? ?\|)+$`)
	tables := 0
	for _, name := range tree(t, ".md") {
		cells, row, code := 0, 0, false
		for n, line := range strings.Split(read(t, name), "\n") {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			if code || !strings.HasPrefix(line, "|") {
				row = 0
				continue
			}
			bars := strings.Count(line, "|") - strings.Count(line, `\|`)
			if row++; row == 1 {
				cells = bars
				tables++
			}
			if bars != cells || dashes.MatchString(line) != (row == 2) {
				t.Errorf("%s:%d: the row does not fit its table: %.80s", name, n+1, line)
			}
		}
	}
	if tables < 100 {
		t.Errorf("found only %d tables", tables)
	}
}
