// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Every Caddyfile that somebody may copy must work.

// ofOthers reports whether a Caddyfile has the store of redisstore or TCP of l4, whose tests try it.
func ofOthers(text string) bool {
	return strings.Contains(text, "store redis") || strings.Contains(text, "layer4")
}

func TestExamples(t *testing.T) {
	for _, name := range tree(t, "Caddyfile") {
		if strings.HasPrefix(name, "examples/") && !ofOthers(read(t, name)) {
			t.Run(name, func(t *testing.T) { lbtest.Provisions(t, name, []byte(read(t, name))) })
		}
	}
}

// The README lists all examples.
func TestExamplesAreListed(t *testing.T) {
	readme := read(t, "README.md")
	for _, name := range tree(t, ".md") {
		if strings.HasPrefix(name, "examples/") && path.Base(name) == "README.md" && !strings.Contains(readme, "]("+name+") | ") {
			t.Errorf("README.md does not list %s", name)
		}
	}
}

// What a fenced block of a page holds is told by the words behind the fence:
//
//	```caddyfile         a whole Caddyfile, formatted as `caddy fmt` does
//	```caddyfile proxy   what stands in the block of a reverse_proxy
//	```caddyfile pool    what stands in the block of a `dynamic pool`
//	```caddyfile global  what stands in the block of global options
//	```json              a whole configuration, if it begins with {"apps"
//
// Whatever is to be read and not copied, such as a table of options, is
// ```text.
var wrappings = map[string]string{
	"caddyfile":        "%s",
	"caddyfile proxy":  ":80 {\nreverse_proxy {\n%s\n}\n}\n",
	"caddyfile pool":   ":80 {\nreverse_proxy {\ndynamic pool {\n%s\n}\n}\n}\n",
	"caddyfile global": "{\n%s\n}\n",
}

func TestDocumentation(t *testing.T) {
	blocks := 0
	for _, name := range tree(t, ".md") {
		for _, b := range fenced(t, name) {
			kind, _, _ := strings.Cut(b.info, " ")
			if kind != "caddyfile" && kind != "json" {
				continue
			}
			blocks++
			t.Run(fmt.Sprintf("%s:%d", name, b.line), func(t *testing.T) { b.check(t) })
		}
	}
	if blocks < 3 {
		t.Errorf("found only %d blocks", blocks)
	}
}

// block is a fenced block of a page.
type block struct {
	info, text string
	line       int
}

func (b block) check(t *testing.T) {
	if b.info == "json" {
		if strings.HasPrefix(strings.Join(strings.Fields(b.text), ""), `{"apps"`) {
			if err := lbtest.Validate([]byte(b.text)); err != nil {
				t.Error(err)
			}
		}
		return
	}
	wrapping, ok := wrappings[b.info]
	if !ok {
		t.Fatalf("unknown words behind the fence: %s", b.info)
	}
	if ofOthers(b.text) {
		return
	}
	text := []byte(fmt.Sprintf(wrapping, b.text))
	if wrapping != "%s" {
		text = caddyfile.Format(text) // how the part is indented is not the point
	}
	lbtest.Provisions(t, "Caddyfile", text)
}

// fenced returns the fenced blocks of a page.
func fenced(t *testing.T, name string) (blocks []block) {
	var b *block
	indent, n := "", 0
	for line := range strings.Lines(read(t, name)) {
		n++
		text := strings.TrimLeft(line, " ")
		info, isFence := strings.CutPrefix(strings.TrimRight(text, " \n"), "```")
		switch {
		case isFence && b == nil:
			b, indent = &block{info: info, line: n}, strings.TrimSuffix(line, text)
		case isFence:
			blocks, b = append(blocks, *b), nil
		case b != nil:
			b.text += strings.TrimPrefix(line, indent)
		}
	}
	if b != nil {
		t.Errorf("%s:%d: the block has no end", path.Base(name), b.line)
	}
	return blocks
}
