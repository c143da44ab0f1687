// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// instruction is one of a Dockerfile, with its continued lines.
type instruction struct{ name, args string }

func dockerfile(t *testing.T) (all []instruction) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for line := range strings.Lines(joined) {
		if name, args, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(name, "#") {
			all = append(all, instruction{name, strings.TrimSpace(args)})
		}
	}
	return all
}

// The image has exact versions and no shell, does not run as root, and copies what there is.
func TestDockerfile(t *testing.T) {
	stages, user := 0, ""
	for _, i := range dockerfile(t) {
		switch i.name {
		case "FROM":
			words := slices.DeleteFunc(strings.Fields(i.args), func(w string) bool { return strings.HasPrefix(w, "--") })
			if stages++; words[0] != "scratch" && !exactImage.MatchString(words[0]) {
				t.Errorf("the image %s has no exact version", words[0])
			}
			user = ""
		case "USER":
			user = i.args
		case "COPY":
			words := strings.Fields(i.args)
			from := slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "--from=") })
			for _, source := range words[:len(words)-1] {
				if source, ours := strings.CutPrefix(source, "/src/"); ours || !from {
					if _, err := os.Stat(filepath.Join(repository, source)); err != nil && !strings.HasPrefix(source, "--") {
						t.Errorf("COPY of what does not exist: %v", err)
					}
				}
			}
		case "ENTRYPOINT", "CMD":
			if !strings.HasPrefix(i.args, "[") {
				t.Errorf("%s needs a shell, and there is none", i.name)
			}
		case "ARG", "RUN", "WORKDIR", "LABEL", "ENV", "VOLUME", "EXPOSE":
		default:
			t.Errorf("the instruction %s is unexpected", i.name)
		}
	}
	if stages != 2 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("there are %d stages, and the last runs as %q", stages, user)
	}
}

// The commands that build the program in the image work: what is copied before `go mod download` is
// enough for it, and the arguments of `go build` name what there is. The program itself is not
// built again here: -n shows how.
func TestDockerfileCommands(t *testing.T) {
	context := t.TempDir()
	for _, i := range dockerfile(t) {
		switch {
		case i.name == "FROM" && i.args == "scratch":
			return
		case i.name == "COPY" && i.args == ". .":
			if err := os.RemoveAll(context); err != nil {
				t.Fatal(err)
			}
			root, err := filepath.Abs(repository)
			if err != nil {
				t.Fatal(err)
			}
			context = root
		case i.name == "COPY":
			words := strings.Fields(i.args)
			for _, source := range words[:len(words)-1] {
				data, err := os.ReadFile(filepath.Join(repository, source))
				if err != nil {
					t.Fatal(err)
				}
				to := filepath.Join(context, words[len(words)-1], filepath.Base(source))
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(to, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		case i.name == "RUN" && strings.Contains(i.args, "go "):
			shell := exec.Command("sh", "-euc", strings.Replace(i.args, "go build -C redisstore ", "go build -C redisstore -n ", 1))
			shell.Dir = context
			shell.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH=arm", "TARGETVARIANT=v7", "VERSION=v0.1.0")
			out, err := shell.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", i.args, err, out)
			}
			if strings.Contains(i.args, "go build") && !(strings.Contains(string(out), "CustomVersion=ballast-v0.1.0") && strings.Contains(string(out), "-trimpath")) {
				t.Error("the version is not in the program")
			}
		}
	}
	t.Error("the Dockerfile has no last stage from scratch")
}

// The unit of systemd is valid, and as closed as its README says.
func TestSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	text, err := os.ReadFile(filepath.Join(repository, "examples", "systemd", "ballast.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "ballast.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/caddy", caddyBinary)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "ballast.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil { // 2.0 of 10
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// The rules for alerts fire on what they are for.
func TestAlerts(t *testing.T) {
	dir := filepath.Join(repository, "examples", "prometheus")
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(dir, "alerts.test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.Groups[0].Rules {
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", r.Alert)
		}
		if !strings.Contains(string(readme), "| `"+r.Alert+"` |") {
			t.Errorf("the README does not say what to do about %s", r.Alert)
		}
		if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n        exp_alerts:") {
			t.Errorf("no test has %s fire", r.Alert)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool")
	}
	cmd := exec.Command(promtool, "test", "rules", "alerts.test.yaml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// Prometheus can parse every query of the dashboard of Grafana.
func TestGrafanaQueries(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool")
	}
	text, err := os.ReadFile(filepath.Join(repository, "examples", "grafana", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", "a|b", "$pool", "web")
	var rules []map[string]string
	for _, m := range regexp.MustCompile(`"expr": ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(string(text), -1) {
		var expr string
		if err := json.Unmarshal([]byte(m[1]), &expr); err != nil {
			t.Fatal(err)
		}
		if expr = variables.Replace(expr); strings.Contains(expr, "$") {
			t.Errorf("an unknown variable is in %s", expr)
		}
		rules = append(rules, map[string]string{"record": fmt.Sprintf("query:%d", len(rules)), "expr": expr})
	}
	if len(rules) < 20 {
		t.Fatalf("found %d queries", len(rules))
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	out, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "queries", "rules": rules}}})
	if err != nil || os.WriteFile(file, out, 0o600) != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// Actions of workflows are pinned by the hash of a commit, with its version beside it, and no job has
// rights by default.
func TestWorkflows(t *testing.T) {
	uses, files := 0, 0
	err := filepath.WalkDir(filepath.Join(repository, ".github", "workflows"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		for line := range strings.Lines(string(text)) {
			if _, action, ok := strings.Cut(line, "uses: "); ok {
				if uses++; !regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n$`).MatchString(action) {
					t.Errorf("%s: %s is not pinned by a hash, with its version behind it", name, action)
				}
			}
		}
		var workflow struct {
			Permissions map[string]string `yaml:"permissions"`
			Jobs        map[string]struct {
				Timeout int `yaml:"timeout-minutes"`
				Steps   []struct {
					Run string `yaml:"run"`
				} `yaml:"steps"`
			} `yaml:"jobs"`
		}
		if err := yaml.Unmarshal(text, &workflow); err != nil {
			return err
		}
		if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
			t.Errorf("%s: the permissions are %v", name, workflow.Permissions)
		}
		makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
		if err != nil {
			return err
		}
		for job, j := range workflow.Jobs {
			if j.Timeout == 0 {
				t.Errorf("%s: %s has no timeout", name, job)
			}
			for _, s := range j.Steps {
				for _, m := range regexp.MustCompile(`(?m)^\s*make ([a-z-]+)`).FindAllStringSubmatch(s.Run, -1) {
					if !strings.Contains(string(makefile), "\n"+m[1]+":") {
						t.Errorf("%s: there is no target %s", name, m[1])
					}
				}
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: %s expands an expression in a script; use env", name, job)
				}
			}
		}
		return nil
	})
	if err != nil || files < 4 || uses < 5 {
		t.Errorf("%d files, %d actions, %v", files, uses, err)
	}
}
