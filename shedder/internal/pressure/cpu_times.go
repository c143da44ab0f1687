// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// cpuTimes are the busy and idle times of a CPU since boot, in seconds.
type cpuTimes struct{ busy, idle float64 }

// readCPUs returns the times of the CPUs that the process may run on.
func readCPUs(root string) (map[int64]cpuTimes, error) {
	proc, err := procfs.NewFS(filepath.Join(root, "proc"))
	if err != nil {
		return nil, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return nil, err
	}
	cpus := make(map[int64]cpuTimes)
	for id, s := range stat.CPU {
		// User and Nice include guest times.
		t := cpuTimes{busy: s.User + s.Nice + s.System + s.IRQ + s.SoftIRQ + s.Steal, idle: s.Idle + s.Iowait}
		if !(t.busy >= 0 && t.idle >= 0 && t.busy+t.idle <= math.MaxFloat64) { // procfs accepts any float
			return nil, fmt.Errorf("%s: no times of CPU %d", filepath.Join(root, "proc/stat"), id)
		}
		cpus[id] = t
	}
	if len(cpus) == 0 {
		return nil, fmt.Errorf("%s: no lines of single CPUs", filepath.Join(root, "proc/stat"))
	}
	file := filepath.Join(root, "proc/self/status")
	data, err := os.ReadFile(file)
	if err != nil {
		return cpus, nil // as if the process may run on all CPUs
	}
	allowed, err := parseAllowed(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return allowed.restrict(cpus), nil
}

// busy returns the share of busy time between two readings. CPUs that were added or removed
// in between do not count.
func busy(before, now map[int64]cpuTimes) (value float64, ok bool) {
	var sum cpuTimes
	for id, t := range now {
		was, ok := before[id]
		if !ok {
			continue
		}
		if t.busy < was.busy {
			return 0, false
		}
		sum.busy += t.busy - was.busy
		sum.idle += max(0, t.idle-was.idle) // the time of waiting for I/O may decrease
	}
	if sum.busy+sum.idle == 0 {
		return 0, false
	}
	return share(sum.busy, sum.busy+sum.idle), true
}

// cpuList is a list of inclusive ranges of CPUs. An empty list stands for all CPUs.
type cpuList [][2]int64

// parseAllowed parses the CPUs of the line of /proc/self/status such as "Cpus_allowed_list:
// 0-3,8". procfs is not used: it ignores errors in this line, and reads an empty list or an
// invalid number as CPU 0.
func parseAllowed(text string) (all cpuList, err error) {
	for line := range strings.Lines(text) {
		list, ok := strings.CutPrefix(line, "Cpus_allowed_list:")
		if !ok {
			continue
		}
		for item := range strings.SplitSeq(strings.TrimSpace(list), ",") {
			first, last, ranged := strings.Cut(item, "-")
			if !ranged {
				last = first
			}
			from, err1 := strconv.ParseUint(first, 10, 31)
			to, err2 := strconv.ParseUint(last, 10, 31)
			if err1 != nil || err2 != nil || to < from {
				return nil, fmt.Errorf("invalid list of CPUs %.80q", line)
			}
			all = append(all, [2]int64{int64(from), int64(to)})
		}
	}
	return all, nil
}

// restrict returns the CPUs that are in the list.
func (l cpuList) restrict(cpus map[int64]cpuTimes) map[int64]cpuTimes {
	total := int64(0)
	for _, r := range l {
		total += r[1] - r[0] + 1
	}
	// A list with at least as many CPUs as the machine has means all: it may name CPUs that are not
	// present, and a container may number CPUs differently.
	if total == 0 || total >= int64(len(cpus)) {
		return cpus
	}
	in := maps.Clone(cpus)
	maps.DeleteFunc(in, func(id int64, _ cpuTimes) bool {
		for _, r := range l {
			if id >= r[0] && id <= r[1] {
				return false
			}
		}
		return true
	})
	if len(in) == 0 {
		return cpus
	}
	return in
}
