// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"path/filepath"
)

// unlimited exceeds the memory of any machine. Version 1 writes a larger number for no limit.
const unlimited = 1 << 62

// memoryMeter is a [Meter] of Memory.
type memoryMeter struct {
	root  string
	dirs  []string // of cgroups that may have a limit
	files memoryFiles
}

// memoryFiles are the names of a cgroup's files, and of a field of memory.stat.
type memoryFiles struct{ limit, usage, inactive string }

func openMemory(root string) (Meter, error) {
	s := &memoryMeter{root: root}
	p, ok, err := locate(root, "memory")
	if err != nil || !ok {
		return s, err
	}
	s.dirs, s.files = p.ancestors(), memoryV1
	if p.v2 {
		s.files = memoryV2
	}
	return s, nil
}

// Read implements [Meter].
func (s *memoryMeter) Read() (value float64, ok bool, err error) {
	total, machine, noMachine := s.machine()
	if noMachine != nil {
		total = unlimited
	}
	for _, dir := range s.dirs {
		used, limited, err := s.files.read(dir, total)
		if err != nil {
			return 0, false, err
		}
		if limited {
			value, ok = max(value, used), true
		}
	}
	if ok {
		return value, true, nil
	}
	return machine, noMachine == nil, noMachine
}

// machine returns the memory of the machine in bytes, and the share in use. It does not use
// procfs, which panics at lines without a value.
func (s *memoryMeter) machine() (total, used float64, err error) {
	total, err = readField(s.root, "proc/meminfo", "MemTotal:")
	if err != nil {
		return 0, 0, err
	}
	available, err := readField(s.root, "proc/meminfo", "MemAvailable:")
	if err != nil {
		return 0, 0, err
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("%s: the total memory is 0", filepath.Join(s.root, "proc/meminfo"))
	}
	return total * 1024, share(total-available, total), nil
}

// read returns the used share of a cgroup's limit, if the limit is below the machine's
// memory. As in Kubernetes, inactive file cache does not count as used, because it can be
// dropped.
func (f memoryFiles) read(dir string, total float64) (used float64, limited bool, err error) {
	limit, err := parseFile(filepath.Join(dir, f.limit), parseLimit)
	if limit, err = limitOf(dir, limit, err); err != nil || limit >= total {
		return 0, false, err
	}
	usage, err := readNumber(dir, f.usage)
	if err != nil {
		return 0, false, err
	}
	inactive, err := readField(dir, "memory.stat", f.inactive)
	if err != nil {
		return 0, false, err
	}
	if limit == 0 { // the kernel accepts a limit of 0
		return 1, true, nil
	}
	return share(usage-inactive, limit), true, nil
}
