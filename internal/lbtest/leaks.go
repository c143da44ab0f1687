// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"bytes"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// NoLeaks fails the test if goroutines of Ballast remain. It waits up to 5 s of real time for their
// end.
func NoLeaks(t testing.TB) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		if left = goroutines(); len(left) == 0 {
			return
		}
	}
	t.Errorf("%d goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
}

// goroutines returns the stacks of other goroutines with a frame in Ballast's own non-test code.
func goroutines() (stacks []string) {
	var buf bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&buf, 2)
	for i, stack := range strings.Split(buf.String(), "\n\n") {
		if i == 0 { // the caller
			continue
		}
		for line := range strings.Lines(stack) {
			if strings.HasPrefix(line, "github.com/ballast-lb/caddy-ballast/") && !strings.Contains(line, "_test.") && !strings.Contains(line, ".Test") &&
				!strings.HasPrefix(line, "github.com/ballast-lb/caddy-ballast/internal/lbtest.Main(") {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}
