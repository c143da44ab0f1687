// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"os/exec"
	"strings"
	"testing"
)

// versions returns the modules that a build of the main module in a folder has, and their versions.
func versions(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "all")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", dir, err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			all[fields[0]] = fields[1]
		}
	}
	return all
}

// raised are the modules of which caddy-l4 itself requires newer versions than Caddy. Caddy links them, but
// they are no part of serving: fsnotify watches the configuration file, regexp2 highlights code.
var raised = map[string]bool{"github.com/fsnotify/fsnotify": true, "github.com/dlclark/regexp2": true}

// Whoever adds the handler gets the modules that Caddy was tested with, at the versions that it was tested
// with, but for those of caddy-l4.
func TestRaisesNoModule(t *testing.T) {
	plugin, ours := versions(t, ".."), versions(t, ".")
	if len(plugin) < 100 {
		t.Fatalf("the plugin has only %d modules", len(plugin))
	}
	for module, want := range plugin {
		if got, ok := ours[module]; ok && got != want && !raised[module] {
			t.Errorf("the plugin has %s at %s, with balance it is %s", module, want, got)
		}
	}
}
