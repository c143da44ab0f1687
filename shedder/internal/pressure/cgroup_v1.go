// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

// The files of cgroups of version 1.

var memoryV1 = memoryFiles{limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", inactive: "total_inactive_file"}

// cpuLimitV1 reads the CPU time that a cgroup may use in each period, in µs.
func cpuLimitV1(dir string) (quota, period float64, limited bool, err error) {
	quota, limited, err = readLimit(dir, "cpu.cfs_quota_us")
	if err == nil && limited {
		period, err = readNumber(dir, "cpu.cfs_period_us")
	}
	return quota, period, limited, err
}

// cpuUsageV1 reads the seconds of CPU time that a cgroup has ever used.
func cpuUsageV1(dir string) (seconds float64, err error) {
	nanos, err := readNumber(dir, "cpuacct.usage")
	return nanos / 1e9, err
}
