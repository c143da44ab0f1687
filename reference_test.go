// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/ballast-lb/caddy-ballast/internal/schema"
)

// The reference is made from the code: fields and types from the registered modules, what they
// mean and their defaults from comments, options and bounds from the parsers of the Caddyfile. The
// same data is in the JSON schema of `caddy ballast schema`.

// firstVersion is the version of fields whose comment says no other.
const firstVersion = "0.1.0"

// others are the Go modules beside the plugin's whose options are in the reference, by directory,
// with their first versions. linked are those that are in this test: with the build tag modules all
// of them, or else none, since the plugin does not require them. What the reference says of those
// that are not linked stays as it is.
var (
	others = map[string]string{"redisstore": firstVersion, "l4": "0.2.0"}
	linked []string
)

// unlinked reports whether a package or a field is of a module that is not in this test.
func unlinked(of string) bool {
	dir, _, _ := strings.Cut(of, ".")
	return others[dir] != "" && !slices.Contains(linked, dir)
}

var (
	defaultText = regexp.MustCompile(`(?:^| )Default: (.*?)\.(?: |$)`)
	sinceText   = regexp.MustCompile(`(?:^| )Since (\d+\.\d+\.\d+)\.(?: |$)`)
	suchText    = regexp.MustCompile(` such as .*$`)
)

// TestReference tests that docs/reference.md, its pages and the data of the JSON schema are what
// the code says, and that every option of a Caddyfile and every field of the JSON is in them.
func TestReference(t *testing.T) {
	fields, names := commented(t)
	w := &referenceWalk{optionWalk: &optionWalk{T: t, docs: synopses(t), seen: make(map[string]bool)}, fields: fields, names: names}
	for _, info := range moduleInfos(t) {
		mod := info.New()
		frame, known := frames[info.ID.Namespace()]
		if _, ok := mod.(caddyfile.Unmarshaler); known && (ok || info.ID.Namespace() == "http.handlers") {
			w.module(frame, info.ID.Name(), packageOf(mod))
		}
	}
	if w.found < 250 {
		t.Errorf("found only %d options", w.found)
	}
	generated := make(map[string]string)
	referencePages(t, fields, generated)
	for of, f := range schema.Fields() {
		if unlinked(of) {
			fields[of] = &f
		}
	}
	var lines strings.Builder
	for _, of := range slices.Sorted(maps.Keys(fields)) {
		line, err := json.Marshal(fields[of])
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	generated["internal/schema/fields.jsonl"] = lines.String()
	update := flag.Lookup("update").Value.String() == "true"
	for name, want := range generated {
		if update {
			if err := os.WriteFile(filepath.FromSlash(name), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(filepath.FromSlash(name)); err != nil || string(got) != want {
			t.Errorf("%s is not what the code says; run `make reference`", name)
		}
	}
}

// commented returns the fields of all types that modules have, and the types, with what their
// comments say, and the names of fields in JSON.
func commented(t *testing.T) (fields map[string]*schema.Field, names map[string]string) {
	comments := make(map[string]string)
	for _, s := range configured(t) {
		for _, d := range s.Decls {
			types, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range types.Specs {
				spec, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				of := s.dir() + "." + spec.Name.Name
				comments[of] = types.Doc.Text()
				if spec.Doc != nil {
					comments[of] = spec.Doc.Text()
				}
				if structure, ok := spec.Type.(*ast.StructType); ok {
					for _, field := range structure.Fields.List {
						for _, name := range field.Names {
							comments[of+"."+name.Name] = field.Doc.Text() + field.Comment.Text()
						}
					}
				}
			}
		}
	}
	fields, names = make(map[string]*schema.Field), make(map[string]string)
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		dir, ours := strings.CutPrefix(typ.PkgPath(), module+"/")
		if !ours || typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		of := dir + "." + typ.Name()
		if len(schema.Properties(typ)) > 0 {
			fields[of] = describe(t, of, comments[of])
		}
		for _, m := range schema.Properties(typ) {
			if m.Of != "" {
				names[m.Of] = m.Name
				fields[m.Of] = describe(t, m.Of, comments[m.Of])
				fields[m.Of].Since = cmp.Or(others[dir], firstVersion)
				if since := sinceText.FindStringSubmatch(oneLine(comments[m.Of])); since != nil {
					fields[m.Of].Since = since[1]
				}
			}
			walk(m.Type)
		}
	}
	for _, info := range moduleInfos(t) {
		walk(schema.TypeOf(info))
	}
	for typ := range seen { // fields under the names that their users know
		for _, m := range schema.Properties(typ) {
			if f := fields[m.Of]; f != nil {
				for _, other := range schema.Properties(typ) {
					name := regexp.MustCompile(`(^|[a-z,;(] )` + other.Of[strings.LastIndex(other.Of, ".")+1:] + `\b`)
					f.Doc = name.ReplaceAllString(f.Doc, "${1}`"+other.Name+"`")
					f.Default = name.ReplaceAllString(f.Default, "${1}`"+other.Name+"`")
				}
			}
		}
	}
	return fields, names
}

// moduleInfos returns the modules of Ballast, in order of their ids.
func moduleInfos(t *testing.T) (all []caddy.ModuleInfo) {
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		if mod := info.New(); ours(mod) && !strings.Contains(packageOf(mod), "/internal/") {
			all = append(all, info)
		}
	}
	return all
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func describe(t *testing.T, of, comment string) *schema.Field {
	text := oneLine(comment)
	if text == "" {
		t.Errorf("%s has no comment", of)
	}
	f := &schema.Field{Of: of}
	if m := defaultText.FindStringSubmatch(text); m != nil {
		f.Default = m[1]
		text = strings.TrimSpace(strings.Replace(text, m[0], " ", 1))
	}
	f.Doc = oneLine(sinceText.ReplaceAllString(text, " "))
	return f
}

// referenceWalk finds what the parsers know of the options: which fields they set, and bounds.
type referenceWalk struct {
	*optionWalk
	fields map[string]*schema.Field
	names  map[string]string // in JSON, of fields
	found  int
}

func (r *referenceWalk) module(f frame, name, pkg string) {
	dir := strings.TrimPrefix(pkg, module+"/")
	for _, s := range r.docs {
		if s.dir == dir && (s.name == name || strings.HasPrefix(s.name, name+" ")) {
			r.line(f, s, true)
		}
	}
}

// line records one option, or the head of a module, and those in its block.
func (r *referenceWalk) line(f frame, s *synopsis, head bool) {
	r.found++
	inner := s.inner(r.docs)
	guest := s.block && len(inner.children) == 0
	if needed[s.name] != "" {
		r.block(f.inside(s.name), inner)
		return
	}
	g, example := r.accepted(f, s, head)
	set := make(map[string]bool)
	for i, a := range s.args {
		for of := range r.varied(g, s, i) {
			set[of] = true
			if !guest && !strings.Contains(s.name, " ") {
				r.rule(g, s, example, i, a, of)
			}
		}
	}
	if !head && example != "" {
		before := r.leaves(g, "")
		for path, leaf := range r.leaves(g, example) {
			if old, ok := before[path]; !ok || !reflect.DeepEqual(old.Value, leaf.Value) {
				set[r.owner(leaf, s)] = true
			}
		}
	}
	if len(set) == 0 && !head { // needs more than another option
		for of := range r.fields {
			if strings.HasPrefix(of, s.dir+".") && r.names[of] == s.name {
				set[of] = true
			}
		}
	}
	written := s.text()
	for of := range set {
		field := r.fields[of]
		if field == nil {
			continue
		}
		if !slices.Contains(field.Options, written) {
			field.Options = append(field.Options, written)
			slices.Sort(field.Options)
		}
		if field.Example == "" && example != "" {
			field.Example = example
		}
	}
	if len(set) == 0 && !head {
		r.Errorf("%s: option %q sets no field of the JSON", s.dir, s.name)
	}
	if s.block && !guest {
		r.block(f.inside(s.write(s.required(), 0)), inner)
	}
}

// accepted returns a line of an option with as many arguments as it may have, and a frame with the
// other options that it needs; or an empty line.
func (r *referenceWalk) accepted(f frame, s *synopsis, head bool) (g frame, line string) {
	needs := []string{""}
	if !head {
		needs = append(needs, companions[s.name])
		for _, other := range slices.Sorted(maps.Values(companions)) {
			if !slices.Contains(needs, other) {
				needs = append(needs, other)
			}
		}
	}
	for _, option := range needs {
		for _, before := range []string{f.before, strings.Replace(f.before, "\nshed {", "\nshed exponential {", 1)} {
			g = f
			if g.before = before; option != "" {
				g.before += option + "\n"
			}
			for _, n := range []int{len(s.args), s.required()} {
				for k := range 5 {
					if line = s.write(n, k); r.adapt(g, line) == nil {
						return g, line
					}
				}
				if n == s.required() {
					break
				}
			}
		}
	}
	return f, ""
}

// owner returns the field that an option sets, or "" if the value is not of its package. Of a module
// of another package in the value, it is the field with the module. The options of a block may be
// fields of another package, with the same names.
func (r *referenceWalk) owner(leaf schema.Leaf, s *synopsis) string {
	if n := len(leaf.Of); n > 0 && strings.HasPrefix(r.names[leaf.Of[n-1]], s.name) && !strings.HasPrefix(leaf.Of[n-1], s.dir+".") {
		return leaf.Of[n-1]
	}
	for _, of := range slices.Backward(leaf.Of) {
		if strings.HasPrefix(of, s.dir+".") || strings.HasPrefix(of, "internal/") {
			return of
		}
	}
	return ""
}

// text returns the option as a synopsis shows it.
func (s *synopsis) text() string {
	text := s.name
	for _, a := range s.args {
		arg := strings.Join(a.words, "|")
		if a.variadic {
			arg = strings.TrimSuffix(arg, ">") + "...>"
		}
		if a.optional {
			arg = "[" + arg + "]"
		}
		text += " " + arg
	}
	return text
}

func (r *referenceWalk) block(f frame, s *synopsis) {
	_, err := r.json(f, "nonesuch")
	if err == nil {
		return
	}
	_, list, ok := strings.Cut(err.Error(), "write one of: ")
	if !ok {
		return
	}
	list, _, _ = strings.Cut(list, ", at Caddyfile:")
	for _, name := range strings.Split(list, ", ") {
		g := f
		if required := needed[s.name]; required != "" {
			g.before += required + "\n"
			if strings.HasPrefix(required, name+" ") {
				g = f
			}
		}
		if option := r.find(name, s); option != nil {
			r.line(g, option, false)
		}
	}
}

// leaves returns the values of a configuration that belong to Ballast's fields, by path.
func (r *referenceWalk) leaves(f frame, line string) map[string]schema.Leaf {
	config, err := r.json(f, line)
	if err != nil {
		return nil
	}
	all, err := schema.Leaves([]byte(config))
	if err != nil {
		r.Fatal(err)
	}
	byPath := make(map[string]schema.Leaf)
	for _, leaf := range all {
		if len(leaf.Of) > 0 {
			byPath[leaf.Path] = leaf
		}
	}
	return byPath
}

// varied returns the fields that change with argument i.
func (r *referenceWalk) varied(f frame, s *synopsis, i int) map[string]bool {
	set := make(map[string]bool)
	var first map[string]schema.Leaf
	full := s.write(len(s.args), 0)
	for _, sample := range s.args[i].samples(s.name) {
		leaves := r.leaves(f, s.with(full, i, sample))
		if leaves == nil {
			continue
		}
		if first == nil {
			first = leaves
			continue
		}
		for path, leaf := range leaves {
			if old, ok := first[path]; !ok || !reflect.DeepEqual(old.Value, leaf.Value) {
				set[r.owner(leaf, s)] = true
			}
		}
	}
	return set
}

// rule records what the errors of an argument say that it must be.
func (r *referenceWalk) rule(f frame, s *synopsis, example string, i int, a argument, of string) {
	field := r.fields[of]
	if field == nil || field.Rule != "" || example == "" || i+len(strings.Fields(s.name)) >= len(strings.Fields(example)) {
		return
	}
	for _, bad := range a.bad(s.name) {
		err := r.adapt(f, s.with(example, i, bad))
		if err == nil {
			continue
		}
		text := suchText.ReplaceAllString(rule(err), "")
		text, _, _ = strings.Cut(text, ", at Caddyfile:")
		if text == "" {
			return
		}
		if min, max := bounds(text); min != nil || max != nil {
			field.Min, field.Max = min, max
		}
		literal := !slices.ContainsFunc(a.words, func(word string) bool { return strings.ContainsAny(word, "<>") })
		if literal && len(a.words) > 1 && text != "on or off" {
			field.Enum = a.words
		}
		if field.Min != nil || field.Max != nil || field.Enum != nil || strings.HasPrefix(text, "a duration") || strings.HasPrefix(text, "a size") {
			field.Rule = text
		}
		return
	}
}

var boundsText = regexp.MustCompile(`^a (whole number|number|ratio) (?:(?:from|above|of at least) ([\d.]+%?))(?: (?:to|and at most|and below) ([\d.]+%?))?`)

// bounds returns the bounds that a rule states, in the unit of JSON.
func bounds(rule string) (min, max *float64) {
	m := boundsText.FindStringSubmatch(rule)
	if m == nil {
		if size := regexp.MustCompile(`^a size from 1 byte to ([\d.]+ .?B)`).FindStringSubmatch(rule); size != nil {
			if _, err := humanize.ParseBytes(size[1]); err == nil {
				one := 1.0
				return &one, nil
			}
		}
		return nil, nil
	}
	number := func(text string) *float64 {
		text, percent := strings.CutSuffix(text, "%")
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		if percent {
			n /= 100
		}
		return &n
	}
	return number(m[2]), number(m[3])
}
