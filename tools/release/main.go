// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command release builds what a release consists of: for each platform an archive with a Caddy that
// has Ballast and its store on Redis, and a list of its modules (CycloneDX); the checksums of all
// files; and the notes from the changelog. It publishes nothing.
//
// The files depend on the commit and on the version of Go alone: the source is exported from Git
// into a new folder, and times are those of the commit.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// platforms are those of a release, as Go's GOOS/GOARCH and, for arm, its version.
const platforms = "linux/amd64 linux/arm64 linux/arm/7 darwin/amd64 darwin/arm64 windows/amd64"

// stamp is the variable with the version that `caddy version` prints.
const stamp = "github.com/caddyserver/caddy/v2.CustomVersion"

var versions = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := release{pkg: "./cmd/caddy"}
	flag.StringVar(&r.root, "root", ".", "checkout of the repository")
	flag.StringVar(&r.module, "module", "redisstore", "folder of the module of the program, in the checkout")
	flag.StringVar(&r.version, "version", "v0.0.0-dev", "version, such as v0.1.0")
	flag.StringVar(&r.out, "out", "dist", "folder for the files; it is made anew")
	list := flag.String("platforms", platforms, "platforms, with spaces between them")
	flag.Parse()
	r.platforms = strings.Fields(*list)
	if err := r.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is one run of the command. It is not safe for concurrent use.
type release struct {
	root, module, pkg string // what is built
	version, out      string
	platforms         []string

	source string    // folder with the exported source
	time   time.Time // of the commit
}

func (r *release) run(ctx context.Context) error {
	if !versions.MatchString(r.version) {
		return fmt.Errorf("the version must be such as v0.1.0, got %q", r.version)
	}
	if err := errors.Join(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	source, err := os.MkdirTemp("", "ballast-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(source)
	r.source = source
	if err := r.export(ctx); err != nil {
		return err
	}
	for _, p := range r.platforms {
		if err := r.platform(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := r.notes(); err != nil {
		return err
	}
	return checksums(r.out)
}

// git returns the output of a command of Git in the checkout.
func (r *release) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.root}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

// export copies the committed files.
func (r *release) export(ctx context.Context) error {
	out, err := r.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return err
	}
	r.time = time.Unix(seconds, 0).UTC()
	archive, err := r.git(ctx, "archive", "HEAD")
	if err != nil {
		return err
	}
	files := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) || h.Typeflag != tar.TypeReg {
			continue
		}
		name := filepath.Join(r.source, h.Name)
		data, err := io.ReadAll(files)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			return err
		}
	}
}

// platform builds the program for a platform, and writes its archive and its list of modules.
func (r *release) platform(ctx context.Context, platform string) error {
	system, arch, _ := strings.Cut(platform, "/")
	arch, variant, _ := strings.Cut(arch, "/")
	name := "caddy"
	if system == "windows" {
		name += ".exe"
	}
	program := filepath.Join(r.source, ".build", system+arch+variant, name)
	fmt.Println("building", platform)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X "+stamp+"=ballast-"+r.version, "-o", program, r.pkg)
	cmd.Dir = filepath.Join(r.source, r.module)
	// Flags of whoever runs this must not change the bytes.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch, "GOARM="+variant, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOTOOLCHAIN=local", "GOEXPERIMENT=", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	base := strings.Join([]string{"ballast", strings.TrimPrefix(r.version, "v"), system, arch}, "_")
	if variant != "" {
		base += "v" + variant
	}
	bom, err := modulesOf(program, r.version, r.time)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, base+".cdx.json"), bom, 0o644); err != nil {
		return err
	}
	files := []file{{path: program, name: base + "/" + name, mode: 0o755}}
	for _, text := range []string{"CHANGELOG.md", "LICENSE", "README.md"} {
		files = append(files, file{path: filepath.Join(r.source, text), name: base + "/" + text, mode: 0o644})
	}
	if system == "windows" {
		return writeZip(filepath.Join(r.out, base+".zip"), files, r.time)
	}
	return writeTar(filepath.Join(r.out, base+".tar.gz"), files, r.time)
}

// notes writes the section of the changelog about this version, or about what is unreleased.
func (r *release) notes() error {
	changelog, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	text, err := section(string(changelog), strings.TrimPrefix(r.version, "v"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "NOTES.md"), []byte(text), 0o644)
}

// section returns the section of a version in a changelog. A version with a suffix, such as
// v0.0.0-dev, has that of what is unreleased.
func section(changelog, version string) (string, error) {
	heading := "## Unreleased"
	if !strings.Contains(version, "-") {
		heading = "## " + version + " "
	}
	_, text, ok := strings.Cut(changelog, "\n"+heading)
	if !ok {
		return "", fmt.Errorf("CHANGELOG.md has no section %q", heading)
	}
	_, text, _ = strings.Cut(text, "\n")
	text, _, _ = strings.Cut(text, "\n## ")
	return strings.TrimSpace(text) + "\n", nil
}
