// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"os/exec"
	"strings"
	"testing"
)

// RaisesNoModule tests that the Go module in the working directory, a folder of the plugin,
// requires the same versions of the plugin's modules, except for the given ones.
func RaisesNoModule(t *testing.T, but ...string) {
	t.Helper()
	plugin, own := moduleVersions(t, ".."), moduleVersions(t, ".")
	if len(plugin) < 100 {
		t.Fatalf("the plugin has only %d modules", len(plugin))
	}
	for _, module := range but {
		delete(plugin, module)
	}
	for module, want := range plugin {
		if got, ok := own[module]; ok && got != want {
			t.Errorf("the plugin has %s at %s, and this module has it at %s", module, want, got)
		}
	}
}

// moduleVersions returns the versions of the modules in the build list of the main module in a
// folder.
func moduleVersions(t *testing.T, dir string) map[string]string {
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
