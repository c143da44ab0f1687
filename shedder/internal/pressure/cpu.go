// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shortest is the least time between two readings of CPU time that tells
// something: the kernel counts some of it in ticks of up to 10 ms.
const shortest = 10 * time.Millisecond

// cpuSource is a [Source] of CPU.
type cpuSource struct {
	root   string
	levels []cpuLevel
	before cpuReading
}

// cpuLevel is a cgroup that may have a limit.
type cpuLevel struct {
	dir, usage string // where its limit is, and its usage
	v2         bool
}

// cpuReading is what was read at one time.
type cpuReading struct {
	at   time.Time
	used map[string]float64 // by cgroups with a limit: seconds of CPU time
	cpus map[int]cpuTimes   // those that the process may run on
}

func openCPU(root string) (Source, error) {
	s := &cpuSource{root: root}
	p, ok, err := locate(root, "cpu")
	if err != nil || !ok {
		return s, err
	}
	usage := p
	if !p.v2 {
		usage, ok, err = locate(root, "cpuacct")
		if err != nil {
			return nil, err
		}
		// Trees of their own that group processes otherwise cannot be compared.
		if !ok || usage.v2 || usage.rel != p.rel {
			return s, nil
		}
	}
	usages := usage.levels()
	for i, dir := range p.levels() {
		s.levels = append(s.levels, cpuLevel{dir, usages[i], p.v2})
	}
	return s, nil
}

// Read implements [Source].
func (s *cpuSource) Read() (value float64, ok bool, err error) {
	before, now := s.before, cpuReading{at: time.Now(), used: make(map[string]float64)}
	span := now.at.Sub(before.at)
	if span < shortest {
		return 0, false, nil
	}
	if now.cpus, err = readCPUs(s.root); err != nil {
		return 0, false, err
	}
	for _, l := range s.levels {
		limit, limited, err := l.limit()
		if err != nil {
			return 0, false, err
		}
		if !limited {
			continue
		}
		used, err := l.used()
		if err != nil {
			return 0, false, err
		}
		now.used[l.usage] = used
		if was, known := before.used[l.usage]; known && used >= was {
			may := min(limit, float64(len(now.cpus))) * span.Seconds()
			value, ok = max(value, share(used-was, may)), true
		}
	}
	if len(now.used) == 0 {
		value, ok = busy(before.cpus, now.cpus)
	}
	s.before = now
	return value, ok, nil
}

// limit returns how many CPUs' time the cgroup may use.
func (l cpuLevel) limit() (cpus float64, limited bool, err error) {
	var quota, period float64
	if l.v2 {
		var data []byte
		data, err = os.ReadFile(filepath.Join(l.dir, "cpu.max"))
		if err == nil {
			if quota, period, limited, err = parseCPUMax(string(data)); err != nil {
				err = fmt.Errorf("%s: %w", filepath.Join(l.dir, "cpu.max"), err)
			}
		}
	} else {
		quota, limited, err = readLimit(l.dir, "cpu.cfs_quota_us")
		if err == nil && limited {
			period, err = readNumber(l.dir, "cpu.cfs_period_us")
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The outermost cgroup has no limit, nor has one without the controller;
		// one that has gone cannot be told from them by that.
		_, err = os.Stat(l.dir)
		return 0, false, err
	case err != nil || !limited:
		return 0, false, err
	}
	if cpus, err = divide(quota, period); err != nil {
		return 0, false, fmt.Errorf("%s: %w", l.dir, err)
	}
	return cpus, true, nil
}

// divide returns how many CPUs' time a quota is.
func divide(quota, period float64) (cpus float64, err error) {
	if quota == 0 || period == 0 {
		return 0, fmt.Errorf("its limit of CPU time is %v of %v µs, which is none", quota, period)
	}
	return quota / period, nil
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

// used returns the seconds of CPU time that the cgroup has used ever.
func (l cpuLevel) used() (seconds float64, err error) {
	if l.v2 {
		micros, err := readField(l.usage, "cpu.stat", "usage_usec")
		return micros / 1e6, err
	}
	nanos, err := readNumber(l.usage, "cpuacct.usage")
	return nanos / 1e9, err
}
