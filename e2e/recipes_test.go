// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// backendAddress finds the addresses of backends in recipes, and recipeSite their sites.
var (
	backendAddress = regexp.MustCompile(`\b10\.0\.0\.\d+:\d+`)
	recipeSite     = regexp.MustCompile(`(?m)^([a-z]+\.)?example\.com \{`)
)

// TestRecipeCommands types the commands of docs/recipes, each section with its own Caddyfile, in
// front of backends that answer.
func TestRecipeCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(repository, "docs", "recipes", "*.md"))
	if err != nil || len(pages) < 4 {
		t.Fatalf("found %v: %v", pages, err)
	}
	typed := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split(string(text), "\n## ")[1:] {
			title, _, _ := strings.Cut(section, "\n")
			config, commands := recipe(section)
			if len(commands) == 0 {
				continue
			}
			typed++
			t.Run(filepath.Base(page)+" "+title, func(t *testing.T) {
				t.Parallel()
				if config == "" {
					t.Fatal("the commands have no Caddyfile before them; write `sh elsewhere` if they are for another machine")
				}
				followRecipe(t, config, commands)
			})
		}
	}
	if typed < 6 {
		t.Errorf("commands of %d sections were typed", typed)
	}
}

// TestTroubleshootingCommands does the same with docs/troubleshooting.md, all with one Caddy.
func TestTroubleshootingCommands(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	if _, commands := recipe(string(text)); len(commands) < 8 {
		t.Errorf("found %d blocks", len(commands))
	} else {
		followRecipe(t, troubledSite, commands)
	}
}

// recipe returns the commands of a section, and the last Caddyfile before them.
func recipe(section string) (config string, commands []fencedBlock) {
	for _, b := range regexp.MustCompile("(?ms)^```(caddyfile|sh)\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		switch {
		case b[1] == "sh":
			commands = append(commands, fencedBlock{kind: "sh", text: b[2]})
		case len(commands) == 0:
			config = b[2]
		}
	}
	return config, commands
}

// troubledSite is what the commands of the troubleshooting page look at.
const troubledSite = `example.com {
	shed
	reverse_proxy {
		dynamic pool web {
			to 10.0.0.11:8080 10.0.0.12:8080
			health http /health
		}
		lb_policy sticky
	}
}
`

// followRecipe runs Caddy with a recipe's Caddyfile, and types its commands.
func followRecipe(t *testing.T, config string, commands []fencedBlock) {
	dir, port, admin := t.TempDir(), freePort(t), freeAddress(t)
	var pairs []string
	seen := make(map[string]bool)
	use := func(text string) {
		for _, documented := range backendAddress.FindAllString(text, -1) {
			if !seen[documented] {
				seen[documented] = true
				pairs = append(pairs, documented, startScripted(t, freeAddress(t), nil).address)
			}
		}
	}
	use(config)
	site := "http://localhost:" + strconv.Itoa(port)
	pairs = append(pairs, "http://example.com", site, "localhost:2019", admin)
	there := strings.NewReplacer(pairs...)

	config = recipeSite.ReplaceAllString(config, site+" {")
	if recipeSite.MatchString(config) || !strings.Contains(config, site) {
		t.Fatalf("the site is not replaced:\n%s", config)
	}
	write(t, dir, "Caddyfile", there.Replace(config))
	binary, err := filepath.Abs(caddyBinary)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "caddy")); err != nil {
		t.Fatal(err)
	}
	// Programs of the reader's own: what they restart has nothing to do with Ballast.
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "CADDY_ADMIN="+admin, "PATH="+bin+":"+os.Getenv("PATH"),
		"HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	r := &reader{T: t, dir: dir, env: env, shell: startShell(t, dir, env), theirs: there, ours: strings.NewReplacer(), last: func() string { return "" }}
	r.caddy = openTerminal(t, dir, env, "caddy run --config Caddyfile")
	first := &commands[0]
	r.await(first, "Caddy serves", func() bool { return r.caddy.out.count("serving initial configuration", nil) > 0 })
	for i := range commands {
		r.typeAll(&commands[i])
	}
}
