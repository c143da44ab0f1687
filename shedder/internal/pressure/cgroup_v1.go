// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"math"
	"path/filepath"
)

// The files of cgroups of version 1.

var memoryV1 = memoryFiles{limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", inactive: "total_inactive_file"}

// cpuLimitV1 reads the CPU limit of a cgroup, in CPUs.
func cpuLimitV1(dir string) (cpus float64, err error) {
	quota, err := parseFile(filepath.Join(dir, "cpu.cfs_quota_us"), parseLimit)
	if err != nil || math.IsInf(quota, 1) {
		return quota, err
	}
	period, err := readNumber(dir, "cpu.cfs_period_us")
	if err != nil {
		return 0, err
	}
	if cpus, err = divide(quota, period); err != nil {
		err = fmt.Errorf("%s: %w", dir, err)
	}
	return cpus, err
}

// cpuUsageV1 reads the total CPU time that a cgroup has used, in seconds.
func cpuUsageV1(dir string) (seconds float64, err error) {
	nanos, err := readNumber(dir, "cpuacct.usage")
	return nanos / 1e9, err
}
