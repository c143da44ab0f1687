// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package peers starts HAProxy, nginx, Caddy alone and Ballast with comparable configurations. Each
// states its settings and where they are documented.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ballast-lb/caddy-ballast/lab/network"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// Site is the site that a balancer serves.
type Site struct {
	// Address is where the balancer listens.
	Address string
	// Backends are the addresses of the backends. The path of their health checks is /health.
	Backends []string
	// Limit is the limit of requests in flight to a backend; 0 for none. If the balancer has a
	// queue, excess requests wait for at most half a second.
	Limit int
}

// Setting is one setting of a balancer, and the page that documents it.
type Setting struct{ Text, Source string }

// Peer is a balancer with its configuration. It is immutable.
type Peer struct {
	// Name is unique.
	Name string
	// Settings are the settings other than addresses.
	Settings []Setting
	// LimitSettings are the additional settings for a [Site] with a limit.
	LimitSettings []Setting

	// Program is the name of the executable, "" for the Caddy with Ballast.
	Program string
	file    string
	args    func(file string) []string
	config  func(s Site, dir string) string
}

// Times of all configurations.
const (
	// responseTimeout bounds the wait for the header of a response.
	responseTimeout = "1s"
	// connectTimeout bounds a connect.
	connectTimeout = "500ms"
	// ejectTime is how long a backend with failures gets no requests.
	ejectTime = "2s"
	// retries is the number of attempts after the first.
	retries = 2
)

// Find returns the path of the program. caddy is the path of a Caddy with Ballast. The error of a program
// that is not installed is [exec.ErrNotFound].
func (p *Peer) Find(caddy string) (string, error) {
	if p.Program == "" {
		return caddy, nil
	}
	for _, name := range []string{p.Program, "/usr/sbin/" + p.Program} { // not in the PATH of all users
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s here: %w", p.Program, exec.ErrNotFound)
}

// Start starts the balancer on a host, with its files in a folder, and returns when it listens.
func (p *Peer) Start(node *network.Node, caddy, dir string, s Site) (*testbed.Process, error) {
	path, err := p.Find(caddy)
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "balancer-"); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, p.file)
	if err := os.WriteFile(file, []byte(p.config(s, dir)), 0o600); err != nil {
		return nil, err
	}
	c := node.Command(path, p.args(file)...)
	c.Env = append(c.Env, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	return testbed.StartProcess(node, c, filepath.Join(dir, "log"), s.Address)
}

// version is an option that makes a program print its version.
var version = map[string]string{"haproxy": "-v", "nginx": "-v"}

// Version returns the version that the program prints, or "".
func (p *Peer) Version(caddy string) string {
	path, err := p.Find(caddy)
	if err != nil {
		return ""
	}
	option := version[p.Program]
	if option == "" {
		option = "version"
	}
	out, _ := exec.Command(path, option).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "nginx version: ")
}
