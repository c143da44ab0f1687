// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// demo runs what `make demo` runs, with a caddy, and returns what it prints.
func (r *reader) demo(caddy string) (string, error) {
	cmd := exec.Command("sh", filepath.Join(r.dir, "examples", "quickstart", "demo.sh"))
	cmd.Env = append(r.env, "CADDY="+caddy)
	out, err := cmd.CombinedOutput()
	return r.ours.Replace(string(out)), err
}

func TestDemo(t *testing.T) {
	r := newReader(t, caddyBinary)
	out, err := r.demo(filepath.Join(r.dir, "caddy"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"hello from 9001", "hello from 9002", "hello from 9003", `backend_up{backend="three",pool="web"} 1`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

// TestDemoReportsNoOtherProgram has another program answer on one of the ports: the
// demo fails, and says which.
func TestDemoReportsNoOtherProgram(t *testing.T) {
	for _, port := range []string{"8080", "2019", "9002"} {
		r := newReader(t, caddyBinary)
		l, err := net.Listen("tcp", "127.0.0.1:"+r.theirs.Replace(port))
		if err != nil {
			t.Fatal(err)
		}
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello from another\n")) }))
		out, err := r.demo(filepath.Join(r.dir, "caddy"))
		l.Close()
		if err == nil || !strings.Contains(out, "port "+port+" is in use") || strings.Contains(out, "hello") {
			t.Errorf("port %s: %v\n%s", port, err, out)
		}
	}
}

// TestDemoNeedsItsOwnCaddy has the demo's own process end while another one answers
// from then on.
func TestDemoNeedsItsOwnCaddy(t *testing.T) {
	r := newReader(t, caddyBinary)
	// Ends as soon as another Caddy serves, which goes on.
	fake := filepath.Join(t.TempDir(), "caddy")
	script := "#!/bin/sh\n'" + filepath.Join(r.dir, "caddy") + "' \"$@\" > '" + fake + ".log' 2>&1 &\necho $! > '" + fake + ".pid'\n" +
		"until grep -q 'serving initial' '" + fake + ".log'; do :; done\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := r.demo(fake)
	text, readErr := os.ReadFile(fake + ".pid")
	pid, atoiErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if readErr != nil || atoiErr != nil {
		t.Fatal(readErr, atoiErr)
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	if err == nil || !strings.Contains(out, "caddy is not running") {
		t.Errorf("%v\n%s", err, out)
	}
}
