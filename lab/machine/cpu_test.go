// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"testing"
	"time"
)

func TestCPUOf(t *testing.T) {
	const line = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194304 100 0 0 0 150 75 0 0 20 0 9 0 100 1 1"
	if got, want := cpuOf(line), 2250*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := cpuOf("nonsense"); got != 0 {
		t.Errorf("got %v from an invalid line", got)
	}
}

func TestTotalOf(t *testing.T) {
	const text = "cpu  100 20 30 5000 600 7 8 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
	if got, want := totalOf(text), 1740*time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
