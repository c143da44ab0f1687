// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// run runs commands one after the other, up to the first that fails.
func run(commands [][]string) error {
	for _, c := range commands {
		path, err := lookPath(c[0])
		if err != nil {
			return err
		}
		cmd := exec.Command(path, c[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// systemFolders are not in the PATH of all users.
const systemFolders = ":/usr/local/sbin:/usr/sbin:/sbin"

// lookPath finds a program in PATH and in the folders of the system.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range strings.Split(systemFolders[1:], ":") {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", err
}

// environment is the environment of this process, with systemFolders in PATH.
func environment() []string { return append(os.Environ(), "PATH="+os.Getenv("PATH")+systemFolders) }

// removeLeftovers removes the namespaces and control groups of ended processes.
func removeLeftovers() {
	namespaces, groups := Leftovers()
	if len(namespaces)+len(groups) == 0 {
		return
	}
	c := exec.Command("sh", "-c", cleanupScript(namespaces, groups, os.Getpid()))
	c.Env = environment()
	_ = c.Run() // ignore errors: names are unique
}
