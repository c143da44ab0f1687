// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// repository is the root of the module that is tested.
const repository = ".."

// caddyBinary is the Caddy that all tests run; TestMain builds it unless the
// environment names one.
var caddyBinary = os.Getenv("BALLAST_E2E_CADDY")

func TestMain(m *testing.M) {
	if address := os.Getenv(backendEnv); address != "" {
		runBackend(address) // this process is a backend of another's test
		return
	}
	if caddyBinary != "" {
		os.Exit(m.Run())
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ballast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	caddyBinary = filepath.Join(dir, "caddy")
	args := []string{"build", "-C", repository, "-o", caddyBinary}
	if raceDetector {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "./cmd/caddy")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building caddy: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// soon is how long a test waits for what should come at once or with the next
// probes. It is long because the machine may be busy.
const soon = 20 * time.Second

// eventually waits until cond holds, or fails the test.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", soon, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
