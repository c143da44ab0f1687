// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"fmt"
	"go/ast"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/schema"
)

// referenceParts are the pages of the reference: one for each package with modules of Caddy.
var referenceParts = []struct{ dir, title, about string }{
	{"pool", "pools", "../pool.md"},
	{"discovery", "discovery", "../discovery.md"},
	{"healthcheck", "health checks", "../health.md"},
	{"selection", "policies", "../policies.md"},
	{"sticky", "sticky sessions", "../sticky.md"},
	{"shedder", "shedding", "../shedding.md"},
	{"fanout", "fan-out", "../fanout.md"},
	{"register", "registration", "../admin.md"},
	{"fleet", "fleet", "../fleet.md"},
	{"redisstore", "the store on Redis", "../../redisstore/README.md"},
	{"l4", "TCP", "../../l4/README.md"},
}

const generatedBy = "<!-- Made by `make reference` from the code. Do not edit. -->\n\n"

// referencePages adds the pages of the reference to generated, by their file names.
func referencePages(t *testing.T, fields map[string]*schema.Field, generated map[string]string) {
	parts := make(map[string]*strings.Builder)
	listed := make(map[string]bool)
	var bare []string // modules without options
	for _, info := range moduleInfos(t) {
		typ := schema.TypeOf(info)
		dir := strings.TrimPrefix(typ.PkgPath(), module+"/")
		if len(schema.Properties(typ)) == 0 {
			bare = append(bare, "`"+string(info.ID)+"`")
			continue
		}
		page := parts[dir]
		if page == nil {
			page = new(strings.Builder)
			parts[dir] = page
		}
		r := &referencePage{Builder: page, fields: fields, listed: listed}
		r.module(t, info, typ)
	}
	index := new(strings.Builder)
	index.WriteString("# Reference\n\n" + generatedBy + referenceIntro + "The pages:\n\n")
	for _, part := range referenceParts {
		fmt.Fprintf(index, "- [%s](reference/%s.md)\n", strings.ToUpper(part.title[:1])+part.title[1:], part.dir)
		if unlinked(part.dir) {
			continue
		}
		if parts[part.dir] == nil {
			t.Errorf("no module of %s has a field", part.dir)
			continue
		}
		name := "docs/reference/" + part.dir + ".md"
		generated[name] = fmt.Sprintf("# Reference: %s\n\n%sWhat it does and when to use it is in [%s](%s). How to read the tables is in the [index](../reference.md).\n%s",
			part.title, generatedBy, part.title, part.about, parts[part.dir])
		delete(parts, part.dir)
	}
	for dir := range parts {
		t.Errorf("add a page for the modules of %s to referenceParts", dir)
	}
	fmt.Fprintf(index, "\nNo options have %s.\n", strings.Join(bare, ", "))
	generated["docs/reference.md"] = index.String()
	for of, f := range fields {
		if f.Since != "" && !listed[of] {
			t.Errorf("%s is in no table of the reference", of)
		}
	}
}

const referenceIntro = `Every option of every module: what a Caddyfile says, the name in JSON, what it may be, its default, and the version that
brought it. What options are for, with whole configurations, is on the [pages of the features](README.md).

- **option**: as a Caddyfile says it, with an example. A dash is an
  object whose fields follow, or a field that only JSON has.
- **JSON**: the path from the module's object. ` + "`[]`" + ` is an element of a list.
- **must be**: what the parser accepts. JSON has ratios as numbers (` + "`0.34`" + ` for ` + "`34%`" + `), sizes in bytes or as in a Caddyfile, and durations as
  strings such as ` + "`\"2s\"`" + `.
- **default**: what an absent option means; a dash is none: off, empty or 0.

` + "`caddy ballast schema`" + ` prints the same as a JSON schema, for completion and errors in an editor: see [the
schema](editors.md). Third-party modules in the binary are in it, too.

`

// referencePage writes the part of one module.
type referencePage struct {
	*strings.Builder
	fields map[string]*schema.Field
	listed map[string]bool
}

func (r *referencePage) module(t *testing.T, info caddy.ModuleInfo, typ reflect.Type) {
	of := strings.TrimPrefix(typ.PkgPath(), module+"/") + "." + typ.Name()
	fmt.Fprintf(r, "\n## %s\n\n%s\n\n", info.ID, plain(r.fields[of].Doc))
	if syntax := syntaxOf(t, typ); syntax != "" {
		fmt.Fprintf(r, "```text\n%s```\n\n", syntax)
	}
	r.WriteString("| option | JSON | must be | default | since | meaning |\n|---|---|---|---|---|---|\n")
	r.members(typ, "", nil)
}

func (r *referencePage) members(typ reflect.Type, path string, above []reflect.Type) {
	for _, m := range schema.Properties(typ) {
		f := r.fields[m.Of]
		if f == nil {
			continue // of Caddy
		}
		elem, name := m.Type, path+m.Name
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice || elem.Kind() == reflect.Map {
			switch elem.Kind() {
			case reflect.Slice:
				if elem.Elem().Kind() != reflect.Uint8 {
					name += "[]"
				}
			case reflect.Map:
				name += ".<key>"
			}
			elem = elem.Elem()
		}
		r.listed[m.Of] = true
		if elem == reflect.TypeFor[caddyfileutil.Position]() { // for errors
			continue
		}
		r.row(f, m, name)
		in := strings.HasPrefix(elem.PkgPath(), module+"/") && elem.Kind() == reflect.Struct
		if in && elem.Name() != "Config" || in && strings.HasSuffix(elem.PkgPath(), "/fleet") {
			if !slices.Contains(above, elem) {
				r.members(elem, name+".", append(slices.Clip(above), elem))
			}
		}
	}
}

func (r *referencePage) row(f *schema.Field, m schema.Property, name string) {
	var options []string
	for _, o := range f.Options {
		options = append(options, "`"+escape(o)+"`")
	}
	option := strings.Join(options, "<br>")
	if option == "" {
		option = "-"
	} else if f.Example != "" && !slices.Contains(f.Options, f.Example) {
		option += "<br>such as `" + escape(f.Example) + "`"
	}
	must := f.Rule
	if must == "" {
		must = kind(m)
	}
	since := f.Since
	byDefault := f.Default
	if byDefault == "" {
		byDefault = "-"
	}
	fmt.Fprintf(r, "| %s | `%s` | %s | %s | %s | %s |\n", option, name, escape(must), escape(byDefault), since, escape(plain(f.Doc)))
}

// kind returns the type of a value without bounds.
func kind(m schema.Property) string {
	typ := m.Type
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case len(m.Namespaces) > 0 && typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8:
		return "modules of `" + strings.Join(m.Namespaces, "` or `") + "`"
	case len(m.Namespaces) > 0:
		return "a module of `" + strings.Join(m.Namespaces, "` or `") + "`"
	case typ == reflect.TypeFor[caddy.Duration]():
		return "a duration"
	case typ == reflect.TypeFor[caddyfileutil.Size]():
		return "a size"
	}
	switch typ.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice, reflect.Map:
		return kind(schema.Property{Type: typ.Elem()})
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

var docLink = regexp.MustCompile(`\[((?:[\w.]+))\]`)

// plain removes what only Go's documentation understands, and shows placeholders as code.
func plain(doc string) string {
	doc = docLink.ReplaceAllString(doc, "$1")
	return regexp.MustCompile("(^|[^`])(\\{[\\w.<>]+\\})").ReplaceAllString(doc, "$1`$2`")
}

// escape makes text safe in a cell of a table.
func escape(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// syntaxOf returns the Syntax block of a module.
func syntaxOf(t *testing.T, typ reflect.Type) string {
	for _, s := range configured(t) {
		if module+"/"+s.dir() != typ.PkgPath() {
			continue
		}
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || receiver(f) != typ.Name() || !strings.HasPrefix(f.Name.Name, "Unmarshal") || f.Doc == nil {
				continue
			}
			if _, text, ok := strings.Cut(f.Doc.Text(), "Syntax:\n"); ok {
				var all strings.Builder
				for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
					all.WriteString(strings.TrimPrefix(line, "\t"))
				}
				return all.String()
			}
		}
	}
	return ""
}
