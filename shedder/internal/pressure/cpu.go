// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"math"
	"time"
)

// minInterval is the least useful interval between two readings of CPU time: the kernel
// counts part of it in ticks of up to 10 ms.
const minInterval = 10 * time.Millisecond

// cpuMeter is a [Meter] of CPU.
type cpuMeter struct {
	root    string
	cgroups []cpuCgroup
	before  cpuReading
}

// cpuCgroup is a cgroup that may have a CPU limit.
type cpuCgroup struct {
	dir, usage string // directories of the files of the limit and of the usage
	v2         bool
}

// cpuReading is the state at one moment.
type cpuReading struct {
	at   time.Time
	used map[string]float64 // seconds of CPU time of cgroups with a limit, by directory
	cpus map[int64]cpuTimes // CPUs that the process may run on
}

func openCPU(root string) (Meter, error) {
	s := &cpuMeter{root: root}
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
		// Hierarchies that group processes differently cannot be compared.
		if !ok || usage.v2 || usage.rel != p.rel {
			return s, nil
		}
	}
	usages := usage.ancestors()
	for i, dir := range p.ancestors() {
		s.cgroups = append(s.cgroups, cpuCgroup{dir, usages[i], p.v2})
	}
	return s, nil
}

// Read implements [Meter].
func (s *cpuMeter) Read() (value float64, ok bool, err error) {
	before, now := s.before, cpuReading{at: time.Now(), used: make(map[string]float64)}
	interval := now.at.Sub(before.at)
	if interval < minInterval {
		return 0, false, nil
	}
	if now.cpus, err = readCPUs(s.root); err != nil {
		return 0, false, err
	}
	for _, c := range s.cgroups {
		limit, err := c.limit()
		if err != nil {
			return 0, false, err
		}
		if math.IsInf(limit, 1) {
			continue
		}
		used, err := c.used()
		if err != nil {
			return 0, false, err
		}
		now.used[c.usage] = used
		if was, known := before.used[c.usage]; known && used >= was {
			available := min(limit, float64(len(now.cpus))) * interval.Seconds()
			value, ok = max(value, share(used-was, available)), true
		}
	}
	if len(now.used) == 0 {
		value, ok = busy(before.cpus, now.cpus)
	}
	s.before = now
	return value, ok, nil
}

// limit returns the CPU limit of the cgroup in CPUs, or +Inf.
func (c cpuCgroup) limit() (cpus float64, err error) {
	if c.v2 {
		cpus, err = cpuLimitV2(c.dir)
	} else {
		cpus, err = cpuLimitV1(c.dir)
	}
	return limitOf(c.dir, cpus, err)
}

// divide returns a quota in CPUs.
func divide(quota, period float64) (cpus float64, err error) {
	if quota == 0 || period == 0 {
		return 0, fmt.Errorf("the CPU quota is %v of %v µs, which is not positive", quota, period)
	}
	return quota / period, nil
}

// used returns the total CPU time that the cgroup has used, in seconds.
func (c cpuCgroup) used() (seconds float64, err error) {
	if c.v2 {
		return cpuUsageV2(c.usage)
	}
	return cpuUsageV1(c.usage)
}
