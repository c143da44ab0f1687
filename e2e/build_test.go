// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	caddyModule  = "github.com/caddyserver/caddy/v2"
	pluginModule = "github.com/ballast-lb/caddy-ballast"
	redisModule  = pluginModule + "/redisstore"
	tcpModule    = pluginModule + "/l4"
)

// TestBuild builds Caddy with the plugin as xcaddy does: in an empty folder,
// with the repository in place of the module.
func TestBuild(t *testing.T) {
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(run(t, root, "go", "list", "-m", "-f", "{{.Version}}", caddyModule))
	caddy := caddyModule + "@" + version

	with := newBuild(t, pluginModule)
	run(t, with, "go", "mod", "edit", "-replace", pluginModule+"="+root)
	run(t, with, "go", "get", caddy)
	run(t, with, "go", "mod", "tidy", "-e") // finds the plugin in its folder
	alone := newBuild(t)
	run(t, alone, "go", "get", caddy)
	run(t, alone, "go", "mod", "tidy", "-e")

	t.Run("raises no module", func(t *testing.T) {
		theirs, ours := versions(t, alone), versions(t, with)
		if theirs[caddyModule] != version || len(theirs) < 50 {
			t.Fatalf("%d modules, Caddy at %q", len(theirs), theirs[caddyModule])
		}
		for module, want := range theirs {
			if got, ok := ours[module]; ok && got != want {
				t.Errorf("Caddy has %s at %s, with the plugin it is %s", module, want, got)
			}
		}
	})
	t.Run("lists its modules", func(t *testing.T) {
		run(t, with, "go", "build", "-o", "caddy", ".")
		var listed []string
		for _, word := range strings.Fields(run(t, with, filepath.Join(with, "caddy"), "list-modules", "--skip-standard")) {
			if word == "ballast" || strings.Contains(word, ".") {
				listed = append(listed, word)
			}
		}
		slices.Sort(listed)
		if documented := documentedModules(t); !slices.Equal(listed, documented) {
			t.Errorf("Caddy lists %q, and docs/README.md %q", listed, documented)
		}
	})
}

// TestBuildWithModules builds Caddy with the plugin and its other Go modules as xcaddy does: the store on Redis,
// and TCP with caddy-l4. One build has both, since each alone would cost as much. The plugin's go.mod stays
// as it is.
func TestBuildWithModules(t *testing.T) {
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	goMod := filepath.Join(root, "go.mod")
	before, err := os.ReadFile(goMod)
	if err != nil {
		t.Fatal(err)
	}
	version := versions(t, root)[caddyModule]
	with := newBuild(t, pluginModule, redisModule, tcpModule)
	run(t, with, "go", "mod", "edit", "-replace", pluginModule+"="+root,
		"-replace", redisModule+"="+filepath.Join(root, "redisstore"), "-replace", tcpModule+"="+filepath.Join(root, "l4"))
	run(t, with, "go", "get", caddyModule+"@"+version)
	run(t, with, "go", "mod", "tidy", "-e")
	ours := versions(t, with)
	raised := []string{"github.com/fsnotify/fsnotify", "github.com/dlclark/regexp2"} // by caddy-l4 itself
	for module, want := range versions(t, root) {
		if got, ok := ours[module]; ok && got != want && !slices.Contains(raised, module) {
			t.Errorf("the plugin has %s at %s, with the modules it is %s", module, want, got)
		}
	}
	run(t, with, "go", "build", "-o", "caddy", ".")
	listed := strings.Fields(run(t, with, filepath.Join(with, "caddy"), "list-modules"))
	for _, id := range []string{"ballast", "ballast.fleet.redis", "ballast.sessions.redis", "layer4", "layer4.handlers.balance"} {
		if !slices.Contains(listed, id) {
			t.Errorf("Caddy does not list %s", id)
		}
	}
	if after, err := os.ReadFile(goMod); err != nil || string(after) != string(before) {
		t.Errorf("the plugin's go.mod has changed (%v)", err)
	}
}

// documentedModules returns the modules in the table of docs/README.md, which has all that are
// registered, as a test of the root says.
func documentedModules(t *testing.T) (ids []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(repository, "docs/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(page)) {
		// | name | directive | module ID | use when | page |
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			for _, m := range id.FindAllStringSubmatch(cells[3], -1) {
				ids = append(ids, m[1])
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// newBuild returns an empty folder with the main package of a Caddy with the
// given plugins.
func newBuild(t *testing.T, plugins ...string) string {
	t.Helper()
	dir := t.TempDir()
	var main strings.Builder
	main.WriteString("package main\n\nimport (\n\tcaddycmd \"" + caddyModule + "/cmd\"\n")
	for _, path := range append([]string{caddyModule + "/modules/standard"}, plugins...) {
		main.WriteString("\t_ \"" + path + "\"\n")
	}
	main.WriteString(")\n\nfunc main() { caddycmd.Main() }\n")
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(main.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "mod", "init", "caddy")
	return dir
}

// versions returns the modules of a build and their versions.
func versions(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for line := range strings.Lines(run(t, dir, "go", "list", "-m", "all")) {
		if fields := strings.Fields(line); len(fields) > 1 {
			all[fields[0]] = fields[1]
		}
	}
	return all
}

// run returns what a command prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}
