// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// namespacePrefix begins the names of namespaces and control groups. The id and the start time of
// their process follow, since ids are reused.
const namespacePrefix = "ballast-lab-"

// namespaceFolder is where iproute2 keeps names of namespaces.
const namespaceFolder = "/run/netns"

// ownedName matches such a name: process, start, number of the network, host.
var ownedName = regexp.MustCompile(`^` + namespacePrefix + `(\d+)-(\d+)-\d+-`)

// owner returns the part of a name that identifies the process.
func owner(pid int) string { return fmt.Sprintf("%s%d-%d-", namespacePrefix, pid, startOf(pid)) }

// startOf returns the start time of a process in ticks since boot; 0 if there is no such process.
func startOf(pid int) int64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0
	}
	start, _ := strconv.ParseInt(fields[19], 10, 64)
	return start
}

// abandoned reports whether a name belongs to a network whose process has ended.
func abandoned(name string, startOf func(pid int) int64) bool {
	m := ownedName.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	pid, _ := strconv.Atoi(m[1])
	return strconv.FormatInt(startOf(pid), 10) != m[2]
}

// Leftovers returns the namespaces and control groups of ended processes. [Start] removes them.
func Leftovers() (namespaces, groups []string) {
	return matching(func(name string) bool { return abandoned(name, startOf) })
}

// matching returns the namespaces, and the folders of control groups, whose names match.
func matching(match func(name string) bool) (namespaces, groups []string) {
	entries, _ := os.ReadDir(namespaceFolder)
	for _, e := range entries {
		if match(e.Name()) {
			namespaces = append(namespaces, e.Name())
		}
	}
	if c, err := machineController(); err == nil {
		entries, _ := os.ReadDir(c.root)
		for _, e := range entries {
			if e.IsDir() && match(e.Name()) {
				groups = append(groups, filepath.Join(c.root, e.Name()))
			}
		}
	}
	return namespaces, groups
}

func machineController() (controller, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return controller{}, err
	}
	return findController(string(mounts), os.ReadFile)
}
