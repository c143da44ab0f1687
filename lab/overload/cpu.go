// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// cpuTime returns the CPU time that a process has had so far, 0 where the system does
// not say.
func cpuTime(pid int) time.Duration {
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

// machine returns the CPU time that all processes have had so far.
func machine() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return machineOf(string(stat))
}

// machineOf reads /proc/stat. The first line has what was spent in user mode, nice,
// system, idle, waiting, interrupts, and what another machine has had.
func machineOf(stat string) (sum time.Duration) {
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

// meter tells what part of the machine others use, who may spoil a step.
type meter struct {
	pids      []int
	began     time.Time
	all, ours time.Duration
}

func newMeter(pids ...int) *meter {
	m := &meter{pids: append(pids, os.Getpid()), began: time.Now(), all: machine()}
	m.ours = m.mine()
	return m
}

func (m *meter) mine() (sum time.Duration) {
	for _, pid := range m.pids {
		sum += cpuTime(pid)
	}
	return sum
}

// others returns it, from 0 to 1.
func (m *meter) others() float64 {
	used := machine() - m.all - (m.mine() - m.ours)
	return max(0, used.Seconds()/(time.Since(m.began).Seconds()*float64(runtime.NumCPU())))
}
