// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/ballast-lb/caddy-ballast"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// block is a fenced block of a page, with the words behind the fence. The tests of the plugin say what
// they mean, and try those blocks that do not name this store.
var block = regexp.MustCompile("(?ms)^ *```(caddyfile[a-z ]*)\n(.*?)^ *```$")

var wrappings = map[string]string{
	"caddyfile":        "BLOCK",
	"caddyfile proxy":  ":80 {\nreverse_proxy {\nBLOCK\n}\n}\n",
	"caddyfile pool":   ":80 {\nreverse_proxy {\ndynamic pool {\nBLOCK\n}\n}\n}\n",
	"caddyfile global": "{\nBLOCK\n}\n",
}

// Every Caddyfile that names this store, and that somebody may copy, must work.
func TestExamples(t *testing.T) {
	t.Setenv("REDIS_PASSWORD", "secret")
	const store = "store redis"
	found := 0
	try := func(name, kind, text string) {
		if !strings.Contains(text, store) {
			return
		}
		found++
		t.Run(name, func(t *testing.T) {
			all := strings.ReplaceAll(wrappings[kind], "BLOCK", text)
			if kind != "caddyfile" {
				all = string(caddyfile.Format([]byte(all))) // how the part is indented is not the point
			}
			lbtest.Provisions(t, "Caddyfile", []byte(all))
		})
	}
	for _, pattern := range []string{"../README.md", "README.md", "../docs/*.md", "../examples/*/README.md", "../examples/*/*Caddyfile"} {
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
				try(name, "caddyfile", string(data))
				continue
			}
			for _, m := range block.FindAllStringSubmatch(string(data), -1) {
				try(name, m[1], m[2])
			}
		}
	}
	if found == 0 {
		t.Error("no Caddyfile names the store")
	}
}
