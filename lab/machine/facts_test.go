// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGibibytes(t *testing.T) {
	for text, want := range map[string]string{"24683620 kB": "23.5 GiB", "": "", "much": ""} {
		if got := gibibytes(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// The first line with the name has the value.
func TestLineValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "info")
	if err := os.WriteFile(file, []byte("processor\t: 0\nmodel name\t: A: b\nmodel name\t: C\nNAME=\"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := field(file, "model name"); got != "A: b" {
		t.Errorf("the model is %q", got)
	}
	if got := assignment(file, "NAME"); got != `"x"` {
		t.Errorf("the name is %q", got)
	}
	if got := field(file+"x", "model name"); got != "" {
		t.Errorf("a missing file has the value %q", got)
	}
}
