// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/ballast-lb/caddy-ballast"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Every whole Caddyfile of the pages and examples that has TCP must work. The tests of the plugin try the
// others.
func TestExamples(t *testing.T) {
	block := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")
	found := 0
	try := func(name, text string) {
		if strings.Contains(text, "layer4") {
			found++
			t.Run(name, func(t *testing.T) { lbtest.Provisions(t, "Caddyfile", []byte(text)) })
		}
	}
	for _, pattern := range []string{"README.md", "../docs/*.md", "../docs/*/*.md", "../examples/*/README.md", "../examples/*/*Caddyfile"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("found no %s: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, ".md") {
				try(name, string(data))
				continue
			}
			for _, m := range block.FindAllStringSubmatch(string(data), -1) {
				try(name, m[1])
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d Caddyfiles have TCP", found)
	}
}
