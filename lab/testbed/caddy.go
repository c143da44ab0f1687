// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ballast-lb/caddy-ballast/lab/network"
)

// Port is the port of balancers and backends on hosts that are namespaces.
const Port = 8080

// BuildCaddy builds the Caddy of this checkout into a folder, and returns its path.
func BuildCaddy(dir string) (path string, err error) {
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..")
	path = filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-C", root, "-o", path, "./cmd/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building Caddy in %s: %w", root, err)
	}
	return path, nil
}

// GlobalOptions returns the block of global options of a Caddyfile: no admin endpoint, no
// certificates, no log, and additional options, each with a line break at its end.
func GlobalOptions(more string) string {
	return "{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n\tlog {\n\t\tlevel PANIC\n\t}\n" + more + "}\n"
}

// Caddyfile returns a configuration with a site at an address. global has additional global
// options.
func Caddyfile(address, global, site string) string {
	return GlobalOptions(global) + Site(address, site)
}

// Site returns an additional site. It binds to one address only: on other addresses the port may be
// in use by a client.
func Site(address, directives string) string {
	host, _, _ := strings.Cut(address, ":")
	return fmt.Sprintf("http://%s {\nbind %s\n%s\n}\n", address, host, directives)
}

// StartCaddy runs a Caddy with a Caddyfile on a host, and returns when it listens at the addresses.
func StartCaddy(node *network.Node, path, dir, caddyfile string, addresses ...string) (*Process, error) {
	dir, err := os.MkdirTemp(dir, "caddy-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	c := node.Command(path, "run", "--config", file, "--adapter", "caddyfile")
	c.Env = append(c.Env, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	return StartProcess(node, c, filepath.Join(dir, "log"), addresses...)
}
