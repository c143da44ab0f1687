// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

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

// Whoever adds the store gets the modules that Caddy was tested with, at the versions that it was
// tested with.
func TestRaisesNoModule(t *testing.T) {
	plugin, store := versions(t, ".."), versions(t, ".")
	if len(plugin) < 100 {
		t.Fatalf("the plugin has only %d modules", len(plugin))
	}
	for module, want := range plugin {
		if got, ok := store[module]; ok && got != want {
			t.Errorf("the plugin has %s at %s, with the store it is %s", module, want, got)
		}
	}
}
