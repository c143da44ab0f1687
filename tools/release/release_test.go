// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// checkout makes a repository with a program that is as small as possible.
func checkout(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"redisstore/go.mod":            "module example.com/small\n\ngo 1.26\n",
		"redisstore/cmd/caddy/main.go": "package main\n\nvar version string\n\nfunc main() { println(\"hello\", version) }\n",
		"CHANGELOG.md":                 "# Changelog\n\n## Unreleased\n\n- next\n\n## 0.1.0 - 2026-11-28\n\n### Added\n\n- first\n\n## 0.0.9 - 2026-01-01\n\n- old\n",
		"LICENSE":                      "licence\n", "README.md": "readme\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{"init -q", "add .", "-c user.name=a -c user.email=a@example.com commit -q -m first"} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return dir
}

func build(t *testing.T, root string) (files map[string][]byte) {
	t.Helper()
	r := release{root: root, module: "redisstore", pkg: "./cmd/caddy", version: "v0.1.0", out: filepath.Join(t.TempDir(), "dist"), platforms: []string{runtime.GOOS + "/" + runtime.GOARCH}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	files = make(map[string][]byte)
	entries, err := os.ReadDir(r.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(r.out, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// The files of a release depend on the commit alone: not on the folder, on flags of the environment,
// or on what is not committed.
func TestReleaseIsReproducible(t *testing.T) {
	root := checkout(t)
	first := build(t, root)
	t.Setenv("GOFLAGS", "-tags=other")
	if err := os.WriteFile(filepath.Join(root, "README.md"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := build(t, root)
	if len(first) != 2+2 || len(first) != len(second) {
		t.Errorf("there are %d and %d files", len(first), len(second))
	}
	for name, data := range first {
		if !bytes.Equal(data, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
	for name, data := range first {
		if sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name); strings.HasPrefix(name, "ballast_") != strings.Contains(string(first["SHA256SUMS"]), sum) {
			t.Errorf("SHA256SUMS is wrong about %s", name)
		}
	}
	if got := string(first["NOTES.md"]); got != "### Added\n\n- first\n" {
		t.Errorf("the notes are %q", got)
	}

	base := "ballast_0.1.0_" + runtime.GOOS + "_" + runtime.GOARCH
	unzipped, err := gzip.NewReader(bytes.NewReader(first[base+".tar.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(unzipped).Next()
	if err != nil || h.Name != base+"/caddy" || h.Mode != 0o755 || h.Uid != 0 {
		t.Errorf("the archive begins with %+v, %v", h, err)
	}
	var bom struct {
		Metadata struct{ Component component }
	}
	if err := json.Unmarshal(first[base+".cdx.json"], &bom); err != nil || bom.Metadata.Component.PURL != "pkg:golang/example.com/small@v0.1.0" {
		t.Errorf("the list of modules is of %+v, %v", bom, err)
	}
}

func TestZip(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "caddy.exe")
	var archives [2][]byte
	for i := range archives {
		if err := os.WriteFile(program, []byte("program"), 0o600); err != nil { // a later time
			t.Fatal(err)
		}
		archive := filepath.Join(dir, "a.zip")
		if err := writeZip(archive, []file{{program, "b/caddy.exe", 0o755}}, time.Unix(1e9, 0).UTC()); err != nil {
			t.Fatal(err)
		}
		archives[i], _ = os.ReadFile(archive)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the archives differ")
	}
	z, err := zip.NewReader(bytes.NewReader(archives[0]), int64(len(archives[0])))
	if err != nil || len(z.File) != 1 || z.File[0].Name != "b/caddy.exe" || z.File[0].Mode() != 0o755 || !z.File[0].Modified.Equal(time.Unix(1e9, 0)) {
		t.Errorf("the archive is wrong: %v", err)
	}
}

func TestSection(t *testing.T) {
	const changelog = "# Changelog\n\n## Unreleased\n\n- next\n\n## 0.1.0 - 2026-11-28\n\n- first\n"
	for version, want := range map[string]string{"0.1.0": "- first\n", "0.2.0-rc.1": "- next\n"} {
		if got, err := section(changelog, version); err != nil || got != want {
			t.Errorf("%s: %q, %v", version, got, err)
		}
	}
	if _, err := section(changelog, "0.1"); err == nil {
		t.Error("a version without a section has notes")
	}
}

func TestVersion(t *testing.T) {
	for _, bad := range []string{"0.1.0", "v0.1", "v0.1.0 -X a=b", ""} {
		if err := (&release{version: bad}).run(t.Context()); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
