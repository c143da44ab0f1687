// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package machine describes the machine, and measures the CPU time of processes.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc.
const tick = 10 * time.Millisecond

// CPUTime returns the total CPU time of a process; 0 if the system does not provide it.
func CPUTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return cpuOf(string(stat))
}

// cpuOf reads a line of /proc/<pid>/stat: utime and stime are its fields 14 and 15.
// The second field is a name in parentheses.
func cpuOf(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	return ticks(fields[11]) + ticks(fields[12])
}

// total returns the total CPU time of all processes.
func total() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return totalOf(string(stat))
}

// totalOf reads /proc/stat. The fields of the first line are user, nice, system, idle, iowait, irq,
// softirq and steal.
func totalOf(stat string) (sum time.Duration) {
	line, _, _ := strings.Cut(stat, "\n")
	for i, field := range strings.Fields(line) {
		if i == 1 || i == 2 || i == 3 || i >= 6 && i <= 8 {
			sum += ticks(field)
		}
	}
	return sum
}

func ticks(field string) time.Duration {
	n, _ := strconv.ParseInt(field, 10, 64)
	return time.Duration(n) * tick
}

// Meter measures the share of the CPUs that other processes use, which may distort a measurement.
type Meter struct {
	pids      []int
	began     time.Time
	all, ours time.Duration
}

// NewMeter starts a measurement. pids are the processes that belong to it, besides this one.
func NewMeter(pids ...int) *Meter {
	m := &Meter{pids: append(pids, os.Getpid()), began: time.Now(), all: total()}
	m.ours = m.mine()
	return m
}

func (m *Meter) mine() (sum time.Duration) {
	for _, pid := range m.pids {
		sum += CPUTime(pid)
	}
	return sum
}

// Others returns the share of other processes since the start, from 0 to 1.
func (m *Meter) Others() float64 {
	used := total() - m.all - (m.mine() - m.ours)
	return max(0, used.Seconds()/(time.Since(m.began).Seconds()*float64(runtime.NumCPU())))
}
