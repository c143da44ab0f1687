// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"math"
	"strings"
	"testing"
)

// within fails the test if a parser returns a number outside of the range without an error.
func within(t *testing.T, text string, n, highest float64, err error) {
	t.Helper()
	if err == nil && !(n >= 0 && n <= highest) {
		t.Errorf("%q gives %v", text, n)
	}
	if err != nil && n != 0 {
		t.Errorf("%q gives %v and %v", text, n, err)
	}
}

func FuzzCgroups(f *testing.F) {
	for _, seed := range []string{"", "0::/\n", "0::/a.slice/b (deleted)", "4:memory:/docker/a\n3:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/../..\n", "x", "0::a", "1:,:/", "1::/"} {
		f.Add(seed, "/")
		f.Add(seed, "/docker")
	}
	machine := f.TempDir()
	f.Fuzz(func(t *testing.T, text, root string) {
		files{"proc/self/cgroup": text}.write(t, machine)
		cgroups, err := readCgroups(machine)
		if err != nil {
			return
		}
		for controller, cgroup := range cgroups {
			if !strings.HasPrefix(cgroup, "/") {
				t.Errorf("%s is in %q", controller, cgroup)
			}
			rel, ok := relative(root, cgroup)
			if !ok {
				continue
			}
			dirs := cgroupPath{"/m", rel, true}.ancestors()
			for _, dir := range dirs {
				if dir != "/m" && !strings.HasPrefix(dir, "/m/") {
					t.Errorf("%q in %q leads to %q", cgroup, root, dir)
				}
			}
			if last := dirs[len(dirs)-1]; last != "/m" {
				t.Errorf("%q in %q ends at %q", cgroup, root, last)
			}
		}
	})
}

func FuzzParseMounts(f *testing.F) {
	for _, seed := range []string{"", mountDockerDesktop, mountV2, mountCPU + mountMemory + mountHybrid, "1 2 3 / - - cgroup", " - cgroup2 x", `1 2 3 /\040 /\134\011\012 rw - cgroup2 a b`, "1 2 3 4 5 6 - cgroup cgroup\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.root == "" || m.point == "" || len(m.controllers) == 0 {
				t.Errorf("%q gives %+v", text, m)
			}
			if m.controls(unified) == m.controls(m.controllers[0]) && m.controllers[0] != unified {
				t.Errorf("%q gives %+v, which is of both versions or of none", text, m)
			}
		}
	})
}

func FuzzStat(f *testing.F) {
	for _, seed := range []string{stat(0, 0), stat(9, 5), "cpu0 1 2 3 4\n", "cpu0 1 2 3 18446744073709551615 18446744073709551615 6 7 8 9 10 11", "cpu 1 2 3 4", "cpu0", "cpu4294967296 1 2 3 4", "cpu0 1 2 3 -4", "cpu0 Inf 1 2 3", "cpu0\xa0 1 2 3 4"} {
		f.Add(seed, stat(9, 1), "Cpus_allowed_list:\t0-1,5\n")
		f.Add(stat(0, 0), seed, "Cpus_allowed_list:\t1\n")
	}
	machine := f.TempDir()
	read := func(t *testing.T, text, status string) map[int64]cpuTimes {
		files{"proc/stat": text, "proc/self/status": status}.write(t, machine)
		cpus, err := readCPUs(machine)
		if err == nil && len(cpus) == 0 {
			t.Fatal("no CPUs are left")
		}
		return cpus
	}
	f.Fuzz(func(t *testing.T, before, now, status string) {
		was, is := read(t, before, status), read(t, now, status)
		if value, ok := busy(was, is); !(value >= 0 && value <= 1) || !ok && value != 0 {
			t.Errorf("%v, then %v, is %v, %v", was, is, value, ok)
		}
	})
}

func FuzzParseAllowed(f *testing.F) {
	for _, seed := range []string{"Cpus_allowed_list:\t0-3,8\n", "Cpus_allowed_list: 1", "Cpus_allowed_list: 0-2147483647,0-2147483647", "Cpus_allowed_list:", "Cpus_allowed_list: 3-1", "Cpus_allowed_list: -", "Name: x\nCpus_allowed: f\n", "Cpus_allowed_list: 1-2-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseAllowed(text)
		for _, r := range list {
			if err != nil || r[0] > r[1] || r[1] > math.MaxInt32 {
				t.Errorf("%q gives %v, %v", text, list, err)
			}
		}
		if cpus := list.restrict(map[int64]cpuTimes{0: {}, 1: {}, 7: {}}); len(cpus) == 0 || len(cpus) > 3 {
			t.Errorf("%q leaves %v", text, cpus)
		}
	})
}

func FuzzParseCPUMax(f *testing.F) {
	for _, seed := range []string{"max 100000\n", "50000 100000\n", "0 0", "max", "", "-1 100000", "1e5 1", "18446744073709551615 1", "max max"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cpus, err := parseCPUMax(text)
		if err == nil && !(cpus > 0) || err != nil && cpus != 0 || math.IsInf(cpus, 1) != (err == nil && strings.Fields(text)[0] == "max") {
			t.Errorf("%q gives %v CPUs, %v", text, cpus, err)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"max\n", "-1\n", "9223372036854771712\n", "0", "", " 5 ", "-2", "NaN", "18446744073709551616", "0x5", "1_0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseLimit(text)
		if math.IsInf(n, 1) && err == nil {
			return
		}
		within(t, text, n, 1<<64, err)
	})
}

func FuzzParseField(f *testing.F) {
	for _, seed := range []string{"usage_usec 5\nuser_usec 3\n", "MemTotal:        8388608 kB\n", "usage_usec", "usage_usec -1", "usage_usec NaN", "", "\n\n", "usage_usec 1 usage_usec 2"} {
		f.Add(seed, "usage_usec")
		f.Add(seed, "MemTotal:")
	}
	f.Fuzz(func(t *testing.T, text, field string) {
		n, err := parseField(text, field)
		within(t, text, n, 1<<64, err)
	})
}

func FuzzParsePSI(f *testing.F) {
	for _, seed := range []string{"some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", "some avg10=100.01", "some avg10=NaN", "some avg10=+Inf", "some avg10=-0", "some avg10=-1", "some avg10=1e400", "some avg10=0x1p-2", "full avg10=5", "some", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parsePSI(text)
		within(t, text, n, 1, err)
	})
}
