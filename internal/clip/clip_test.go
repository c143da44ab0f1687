// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package clip

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"status 503":             "status 503",
		strings.Repeat("x", 256): strings.Repeat("x", 256),
		strings.Repeat("x", 257): strings.Repeat("x", 253) + "…",
		strings.Repeat("é", 200): strings.Repeat("é", 126) + "…",
		"a\xffb":                 "a?b",
	} {
		if got := Text(in); got != want || len(got) > MaxBytes || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	long := fmt.Errorf("%s: %w", strings.Repeat("x", 1<<20), io.EOF)
	if got := Error(long); len(got.Error()) > MaxBytes || !errors.Is(got, io.EOF) {
		t.Errorf("%d bytes, %v", len(got.Error()), errors.Is(got, io.EOF))
	}
	if Error(io.EOF) != io.EOF || Error(nil) != nil {
		t.Error("a short error is another")
	}
}
