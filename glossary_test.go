// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// avoided returns the words that docs/glossary.md has in its column "avoid".
func avoided(t *testing.T) map[string]bool {
	t.Helper()
	words := make(map[string]bool)
	row := regexp.MustCompile(`(?m)^\| [^|\n]+ \| [^|\n]+ \| ?([a-z, ]*) \|$`)
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/glossary.md"), -1) {
		for word := range strings.SplitSeq(m[1], ",") {
			if word = strings.TrimSpace(word); word != "" && word != "avoid" {
				words[word] = true
			}
		}
	}
	if len(words) < 20 {
		t.Fatalf("found %d words to avoid in docs/glossary.md", len(words))
	}
	return words
}

// camelWords returns the words of an identifier, in lower case.
func camelWords(name string) (words []string) {
	start := 0
	runes := []rune(name)
	for i := 1; i <= len(runes); i++ {
		boundary := i == len(runes) || runes[i] == '_' || runes[i-1] == '_' ||
			unicode.IsUpper(runes[i]) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if boundary {
			words = append(words, strings.ToLower(string(runes[start:i])))
			start = i
		}
	}
	return words
}

func TestCamelWords(t *testing.T) {
	for name, want := range map[string]string{
		"slotQueue": "slot queue", "HTTPServer": "http server", "maxID": "max id", "x": "x", "p2cPicker": "p2c picker", "a_b": "a _ b",
	} {
		if got := strings.Join(camelWords(name), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// No identifier contains a word that the glossary has another for.
func TestWordsOfTheGlossary(t *testing.T) {
	avoid := avoided(t)
	for _, s := range sources(t) {
		seen := make(map[string]bool)
		ast.Inspect(s.File, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || seen[id.Name] {
				return true
			}
			seen[id.Name] = true
			for _, word := range camelWords(id.Name) {
				if avoid[word] {
					t.Errorf("%s: %s contains %q; docs/glossary.md has the word for it", s.name, id.Name, word)
				}
			}
			return true
		})
	}
}

// freeTypeNames are names of types that mean the same in each package: what a Caddy
// module is made of, where it keeps something, and what is kept of one thing.
var freeTypeNames = []string{"Handler", "Config", "Store", "Record"}

// One word stands for one thing: no type has the same name in more than two packages.
func TestTypeNames(t *testing.T) {
	packages := make(map[string]map[string]bool)
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, d := range s.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && ts.Assign == 0 {
					if packages[ts.Name.Name] == nil {
						packages[ts.Name.Name] = make(map[string]bool)
					}
					packages[ts.Name.Name][s.dir()] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if in := packages[name]; len(in) > 2 && !slices.Contains(freeTypeNames, name) {
			t.Errorf("the type %s is declared in %d packages, %v; give each thing a word of its own", name, len(in), slices.Sorted(maps.Keys(in)))
		}
	}
}
