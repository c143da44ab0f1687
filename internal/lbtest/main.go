// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"os"
	"strings"
	"testing"
)

// Main runs the tests of a package with tests in bubbles, after [Prime]. Call it from TestMain.
func Main(m *testing.M) {
	Prime()
	os.Exit(m.Run())
}

// Simulation skips a test that sends too many requests for the race detector. `make sim` runs it
// without the detector, and finds it by its name, which must begin with TestSimulation.
func Simulation(t testing.TB) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestSimulation") {
		t.Fatal("the name of a simulation must begin with TestSimulation, so that make sim runs it")
	}
	if RaceDetector {
		t.Skip("too many requests for the race detector; make sim runs this test without it")
	}
}
