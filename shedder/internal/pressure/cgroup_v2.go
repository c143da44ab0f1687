// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
)

// The files of cgroups of version 2.

var memoryV2 = memoryFiles{limit: "memory.max", usage: "memory.current", inactive: "inactive_file"}

// cpuLimitV2 reads the CPU limit of a cgroup, in CPUs.
func cpuLimitV2(dir string) (cpus float64, err error) {
	return parseFile(filepath.Join(dir, "cpu.max"), parseCPUMax)
}

// parseCPUMax parses cpu.max: "max 100000" for no limit, or "50000 100000".
func parseCPUMax(text string) (cpus float64, err error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, fmt.Errorf("invalid quota and period %.40q", text)
	}
	period, err := parseNumber(words[1])
	if err != nil {
		return 0, err
	}
	if words[0] == "max" {
		return math.Inf(1), nil
	}
	quota, err := parseNumber(words[0])
	if err != nil {
		return 0, err
	}
	return divide(quota, period)
}

// cpuUsageV2 reads the total CPU time that a cgroup has used, in seconds.
func cpuUsageV2(dir string) (seconds float64, err error) {
	micros, err := readField(dir, "cpu.stat", "usage_usec")
	return micros / 1e6, err
}
