// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
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
		if got := Clip(in); got != want || len(got) > MaxText || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	long := fmt.Errorf("%s: %w", strings.Repeat("x", 1<<20), io.EOF)
	if got := ClipError(long); len(got.Error()) > MaxText || !errors.Is(got, io.EOF) {
		t.Errorf("%d bytes, %v", len(got.Error()), errors.Is(got, io.EOF))
	}
	if ClipError(io.EOF) != io.EOF || ClipError(nil) != nil {
		t.Error("a short error is another")
	}
}

// What a backend says is bounded wherever it is kept.
func TestTextsOfBackendsAreBounded(t *testing.T) {
	long := strings.Repeat("<", 4<<20)
	v := NewStatus(true)
	v.Observe(errors.New(long), 1, 1)
	probe := v.Report().LastError
	v.ObserveAgentError(errors.New(long))
	silence := v.Report().LastError
	down := false
	v.ApplyInstruction(Instruction{Up: &down, Reason: long})
	agent := v.Report().LastError
	e := NewState()
	e.eject(Now(), &OutlierRules{EjectFor: time.Second, MaxEjectFor: time.Second}, long)
	for what, text := range map[string]string{"probe": probe, "silence": silence, "agent": agent, "ejection": e.EjectionReport().Reason} {
		if len(text) > MaxText || !strings.HasSuffix(text, "…") {
			t.Errorf("%s: %d bytes, marked %v", what, len(text), strings.HasSuffix(text, "…"))
		}
	}
}
