// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files of cgroups of version 2.

var memoryV2 = memoryFiles{limit: "memory.max", usage: "memory.current", inactive: "inactive_file"}

// cpuLimitV2 reads the CPU time that a cgroup may use in each period, in µs.
func cpuLimitV2(dir string) (quota, period float64, limited bool, err error) {
	file := filepath.Join(dir, "cpu.max")
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, false, err
	}
	if quota, period, limited, err = parseCPUMax(string(data)); err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return quota, period, limited, err
}

// parseCPUMax parses cpu.max: "max 100000" for no limit, or "50000 100000".
func parseCPUMax(text string) (quota, period float64, limited bool, err error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, 0, false, fmt.Errorf("has %.40q for a quota and a period", text)
	}
	if period, err = parseNumber(words[1]); err != nil || words[0] == "max" {
		return 0, 0, false, err
	}
	quota, err = parseNumber(words[0])
	return quota, period, err == nil, err
}

// cpuUsageV2 reads the seconds of CPU time that a cgroup has ever used.
func cpuUsageV2(dir string) (seconds float64, err error) {
	micros, err := readField(dir, "cpu.stat", "usage_usec")
	return micros / 1e6, err
}
