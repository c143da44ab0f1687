// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"encoding/json"
	"testing"
)

func TestSizeInJSON(t *testing.T) {
	for text, want := range map[string]Size{`64000`: 64000, `"64KB"`: 64000, `"1MiB"`: 1 << 20, `"5"`: 5, `null`: 7, `-1`: -1} {
		got := Size(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{`"big"`, `""`, `"-1"`, `1.5`, `true`, `"99EB"`, `[]`} {
		if err := json.Unmarshal([]byte(text), new(Size)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	if out, err := json.Marshal(struct{ Body Size }{64000}); err != nil || string(out) != `{"Body":64000}` {
		t.Errorf("%s, %v", out, err)
	}
}
