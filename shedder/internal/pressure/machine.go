// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cpuTimes is how long a CPU has been busy and idle ever, in ticks.
type cpuTimes struct{ busy, idle float64 }

// readCPUs returns the times of the CPUs that the process may run on.
func readCPUs(root string) (map[int]cpuTimes, error) {
	file := filepath.Join(root, "proc/stat")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cpus, err := parseStat(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if data, err = os.ReadFile(filepath.Join(root, "proc/self/status")); err != nil {
		return cpus, nil // as if it may run on all
	}
	spans, err := parseAllowed(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(root, "proc/self/status"), err)
	}
	return spans.restrict(cpus), nil
}

// parseStat parses the lines of /proc/stat that are about single CPUs, such as
// "cpu0 42308 0 5574 110984 183 0 22 51 0 0".
func parseStat(text string) (map[int]cpuTimes, error) {
	cpus := make(map[int]cpuTimes)
	for line := range strings.Lines(text) {
		digits, ok := strings.CutPrefix(line, "cpu")
		if !ok || digits == "" || digits[0] < '0' || digits[0] > '9' {
			continue
		}
		words := strings.Fields(digits)
		id, err := strconv.ParseUint(words[0], 10, 31)
		// user, nice, system and idle are of old; then iowait, irq, softirq and
		// steal. The times of guests, which follow, are in user and nice.
		if err != nil || len(words) < 5 {
			return nil, fmt.Errorf("has the line %.80q, which holds no times of a CPU", line)
		}
		var t cpuTimes
		for i, word := range words[1:min(len(words), 9)] {
			n, err := parseNumber(word)
			if err != nil {
				return nil, err
			}
			if i == 3 || i == 4 {
				t.idle += n
			} else {
				t.busy += n
			}
		}
		cpus[int(id)] = t
	}
	if len(cpus) == 0 {
		return nil, errors.New("has no lines of single CPUs")
	}
	return cpus, nil
}

// busy returns the share of the time in which CPUs were busy. CPUs that came or
// went meanwhile do not count.
func busy(before, now map[int]cpuTimes) (value float64, ok bool) {
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
		sum.idle += max(0, t.idle-was.idle) // the time of waiting for I/O may shrink
	}
	if sum.busy+sum.idle == 0 {
		return 0, false
	}
	return share(sum.busy, sum.busy+sum.idle), true
}

// spans are numbers of CPUs, from and to. None at all stand for every number.
type spans [][2]uint64

// parseAllowed returns the CPUs of the line of /proc/self/status such as
// "Cpus_allowed_list: 0-3,8".
func parseAllowed(text string) (all spans, err error) {
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
				return nil, fmt.Errorf("has the line %.80q, which lists no CPUs", line)
			}
			all = append(all, [2]uint64{from, to})
		}
	}
	return all, nil
}

// restrict returns those of the CPUs that are in the spans.
func (s spans) restrict(cpus map[int]cpuTimes) map[int]cpuTimes {
	total := uint64(0)
	for _, span := range s {
		total += span[1] - span[0] + 1
	}
	// As many as there are, or more, are all of them: the list may have CPUs that
	// the machine could have but has not, and a container may show those that it
	// may use under numbers of its own.
	if total == 0 || total >= uint64(len(cpus)) {
		return cpus
	}
	in := make(map[int]cpuTimes)
	for id, t := range cpus {
		for _, span := range s {
			if uint64(id) >= span[0] && uint64(id) <= span[1] {
				in[id] = t
			}
		}
	}
	if len(in) == 0 {
		return cpus
	}
	return in
}
