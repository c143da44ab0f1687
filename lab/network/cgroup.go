// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// controller is the control group hierarchy that limits CPU time.
type controller struct {
	root    string // mount point
	version int    // 1 or 2
}

// findController returns the hierarchy in the text of /proc/mounts.
func findController(mounts string, read func(string) ([]byte, error)) (controller, error) {
	var second string
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch {
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "cpu"):
			return controller{f[1], 1}, nil
		case f[2] == "cgroup2":
			second = f[1]
		}
	}
	if second != "" {
		controllers, err := read(filepath.Join(second, "cgroup.controllers"))
		if err != nil {
			return controller{}, err
		}
		if slices.Contains(strings.Fields(string(controllers)), "cpu") {
			return controller{second, 2}, nil
		}
	}
	return controller{}, errors.New("no control group controller for CPU time is mounted")
}

// bandwidth returns the quota and the period, in microseconds, that limit a group to a number of
// CPUs. The period is short, so that the CPU is slow without long pauses. The least quota of the
// kernel is 1 ms.
func bandwidth(cpus float64) (quota, period int) {
	period = 10_000
	if cpus < 0.1 {
		period = int(1000 / cpus)
	}
	return int(cpus*float64(period) + 0.5), period
}

// make creates a group with a limit in CPUs, and returns its folder.
func (c controller) make(name string, cpus float64) (dir string, err error) {
	dir = filepath.Join(c.root, name)
	quota, period := bandwidth(cpus)
	files := [][2]string{{"cpu.cfs_period_us", fmt.Sprint(period)}, {"cpu.cfs_quota_us", fmt.Sprint(quota)}}
	if c.version == 2 {
		files = [][2]string{{"cpu.max", fmt.Sprintf("%d %d", quota, period)}}
		if err := os.WriteFile(filepath.Join(c.root, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
			return "", err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0o644); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
	}
	return dir, nil
}
