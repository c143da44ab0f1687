// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Signal is the name of a measured quantity, as in the configuration.
type Signal string

// The signals. All are shares from 0 to 1.
const (
	// CPU is the share of CPU time in use. If the cgroup of the process, or an ancestor, has
	// a limit (cpu.max or cpu.cfs_quota_us), it is the share of that limit, or of the CPUs if
	// these are fewer; of several limits, the most used one. Otherwise it is the share of the
	// CPUs that the process may run on. Waiting for I/O counts as idle, and time taken by a
	// hypervisor (steal) as busy.
	CPU Signal = "cpu"
	// Memory is the share of memory in use. If the cgroup of the process, or an ancestor, has
	// a limit below the memory of the machine (memory.max or memory.limit_in_bytes), it is
	// the share of that limit, without inactive file cache; of several limits, the most used
	// one. Otherwise it is the share of the machine's memory that is not available
	// (MemAvailable).
	Memory Signal = "memory"
	// PressureCPU is the share of the latest 10 s in which some task of the cgroup waited for
	// a CPU, or some task of the machine if the cgroup has no such figure.
	PressureCPU Signal = "pressure_cpu"
	// PressureMemory is the same for waiting for memory.
	PressureMemory Signal = "pressure_memory"
	// PressureIO is the same for waiting for I/O.
	PressureIO Signal = "pressure_io"
)

// Signals returns all signals.
func Signals() []Signal {
	return []Signal{CPU, Memory, PressureCPU, PressureMemory, PressureIO}
}

// ErrUnsupported is wrapped by the errors for signals that this platform, kernel
// or container does not have.
var ErrUnsupported = errors.New("not available here")

// Meter reads one signal. It is not safe for concurrent use.
type Meter interface {
	// Read returns the current value, from 0 to 1, or false if there is none. CPU needs two
	// readings at least 10 ms apart, and has no value when counters have decreased, as they
	// do when a container is migrated.
	Read() (value float64, ok bool, err error)
}

// Open returns a source of a signal, after a first reading. Files are below root, which is
// "/" except in tests. The cgroup of the process is determined once; limits are read each
// time.
func Open(root string, signal Signal) (Meter, error) {
	if !slices.Contains(Signals(), signal) {
		return nil, fmt.Errorf("unknown signal %q; write one of: %s", signal, choice())
	}
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("the signal %s is %w: it needs files of Linux, and this is %s", signal, ErrUnsupported, runtime.GOOS)
	}
	source, needs, err := open(root, signal)
	if err == nil {
		_, _, err = source.Read()
	}
	switch {
	case err == nil:
		return source, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, errors.ErrUnsupported):
		return nil, fmt.Errorf("the signal %s is %w; it needs %s: %w", signal, ErrUnsupported, needs, err)
	}
	return nil, fmt.Errorf("the signal %s cannot be read: %w", signal, err)
}

// open returns a source without a first reading, and its requirement, for errors.
func open(root string, signal Signal) (source Meter, needs string, err error) {
	switch signal {
	case CPU:
		source, err = openCPU(root)
		needs = "/proc/stat, and the cgroup files if there is a cgroup"
	case Memory:
		source, err = openMemory(root)
		needs = "/proc/meminfo with MemAvailable, or a cgroup with a memory limit"
	default:
		source, err = openPSI(root, strings.TrimPrefix(string(signal), "pressure_"))
		needs = "pressure stall information: Linux 4.20 or newer with CONFIG_PSI, on some kernels the boot parameter psi=1, and a container that shows /proc/pressure"
	}
	return source, needs, err
}

func choice() string {
	var names []string
	for _, s := range Signals() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// parseFile parses a file, and adds its name to errors.
func parseFile(file string, parse func(text string) (float64, error)) (float64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := parse(string(data))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

// readNumber reads a file that holds one number.
func readNumber(dir, name string) (float64, error) {
	return parseFile(filepath.Join(dir, name), func(text string) (float64, error) { return parseNumber(strings.TrimSpace(text)) })
}

// readField returns the number of a field of a file with a name and a number on each line,
// such as memory.stat or /proc/meminfo.
func readField(dir, name, field string) (float64, error) {
	return parseFile(filepath.Join(dir, name), func(text string) (float64, error) { return parseField(text, field) })
}

// parseLimit parses a number, or max or -1 for no limit, which is +Inf.
func parseLimit(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if text == "max" || text == "-1" {
		return math.Inf(1), nil
	}
	return parseNumber(text)
}

func parseField(text, field string) (float64, error) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == field {
			return parseNumber(words[1])
		}
	}
	return 0, fmt.Errorf("no line with %s", field)
}

// parseNumber parses a counter. A float64 neither overflows in sums nor wraps in differences,
// and is exact for 104 days of nanoseconds.
func parseNumber(text string) (float64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid number %.40q", text)
	}
	return float64(n), nil
}

// share returns a ratio, clamped to 1: bursts, and files that are read one after another, may
// exceed it.
func share(part, whole float64) float64 {
	return min(1, max(0, part/whole))
}
