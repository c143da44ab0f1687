// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// files are the files of a machine by path. A path that ends in a slash is an empty directory.
type files map[string]string

// write writes the files below root.
func (fs files) write(t testing.TB, root string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(root, "proc/self")); errors.Is(err, os.ErrNotExist) { // a link to the process, number 1
		if err := errors.Join(os.MkdirAll(filepath.Join(root, "proc/1"), 0o755), os.Symlink("1", filepath.Join(root, "proc/self"))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range fs {
		file := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(file, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// machine writes a machine with two CPUs, half in use, and 8 GiB of memory, a quarter in use, and
// additional files.
func machine(t testing.TB, more ...files) (root string) {
	t.Helper()
	root = t.TempDir()
	all := files{
		"proc/stat":            stat(0, 0),
		"proc/meminfo":         "MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    6291456 kB\n",
		"proc/self/status":     "Name:\tcaddy\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\nMems_allowed_list:\t0\n",
		"proc/self/cgroup":     "0::/\n",
		"proc/self/mountinfo":  "22 28 0:20 / /sys rw shared:7 - sysfs sysfs rw\n",
		"proc/pressure/cpu":    "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"proc/pressure/memory": "some avg10=2.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n",
		"proc/pressure/io":     "some avg10=100.00 avg60=0.00 avg300=0.00 total=12\n",
	}
	for _, m := range more {
		maps.Copy(all, m)
	}
	all.write(t, root)
	return root
}

// stat returns /proc/stat of two CPUs after a number of seconds; one CPU was busy for some of them.
func stat(seconds, busy int) string {
	return fmt.Sprintf("cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 %d 0 0 %d 0 0 0 0 0 0\ncpu1 0 0 0 0 %d 0 0 0 0 0\nintr 5 1 2\nctxt 7\n", 100*busy, 100*(seconds-busy), 100*seconds)
}

const (
	mountV2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountCPU    = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
	mountMemory = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	mountHybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	leaf        = "sys/fs/cgroup/app.slice/caddy.service/"
	slice       = "sys/fs/cgroup/app.slice/"
	gib         = 1 << 30
)

// v2 is a service in a slice, with cgroups of version 2, without limits.
func v2() files {
	usage := "usage_usec 0\nuser_usec 0\n"
	return files{
		"proc/self/cgroup":    "0::/app.slice/caddy.service\n",
		"proc/self/mountinfo": mountV2,
		leaf + "cpu.max":      "max 100000\n", leaf + "cpu.stat": usage,
		slice + "cpu.max": "max 100000\n", slice + "cpu.stat": usage,
		leaf + "memory.max": "max\n", slice + "memory.max": "max\n",
		leaf + "memory.current": fmt.Sprintln(gib), leaf + "memory.stat": "anon 1\nfile 2\ninactive_file 0\n",
		slice + "memory.current": fmt.Sprintln(3 * gib), slice + "memory.stat": fmt.Sprintln("inactive_file", gib),
	}
}

// cpuAfter returns the CPU usage in 2 s, after which the files have changed.
func cpuAfter(t *testing.T, root string, change files) (value float64, ok bool, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		source, _, openErr := open(root, CPU)
		if openErr != nil {
			t.Fatal(openErr)
		}
		if value, ok, err := source.Read(); value != 0 || ok || err != nil {
			t.Errorf("the first reading gives %v, %v, %v", value, ok, err)
		}
		time.Sleep(2 * time.Second)
		change.write(t, root)
		value, ok, err = source.Read()
	})
	return value, ok, err
}

func TestCPU(t *testing.T) {
	usec := func(n int) string { return fmt.Sprintf("usage_usec %d\nuser_usec 1\n", n) }
	for name, test := range map[string]struct {
		before, after files
		want          float64 // -1 for no value
	}{
		"the machine's":                            {files{}, files{"proc/stat": stat(2, 1)}, 0.25},
		"the machine's, all busy but iowait":       {files{}, files{"proc/stat": stat(2, 2)}, 0.5},
		"time that a hypervisor takes is busy":     {files{}, files{"proc/stat": "cpu0 0 0 0 100 0 0 0 100\ncpu1 0 0 0 200 0 0 0 0\n"}, 0.25},
		"on a kernel of old":                       {files{}, files{"proc/stat": "cpu0 100 0 0 100\n"}, 0.5},
		"a short line, what it lacks being 0":      {files{"proc/stat": "cpu0 0 0 0\n"}, files{"proc/stat": "cpu0 100 0 0\n"}, 1},
		"no time has passed":                       {files{}, files{}, -1},
		"counters went backwards":                  {files{"proc/stat": stat(9, 5)}, files{"proc/stat": stat(10, 1)}, -1},
		"iowait went backwards":                    {files{"proc/stat": "cpu0 0 0 0 0 50\n"}, files{"proc/stat": "cpu0 100 0 0 20 0\n"}, 1},
		"a CPU came":                               {files{}, files{"proc/stat": stat(2, 1) + "cpu2 9999 0 0 0 0\n"}, 0.25},
		"on one CPU only":                          {files{"proc/self/status": "Cpus_allowed_list:\t0\n"}, files{"proc/stat": stat(2, 1)}, 0.5},
		"on CPUs with numbers of their own":        {files{"proc/self/status": "Cpus_allowed_list:\t6-7\n"}, files{"proc/stat": stat(2, 1)}, 0.25},
		"on one CPU that is not there":             {files{"proc/self/status": "Cpus_allowed_list:\t6\n"}, files{"proc/stat": stat(2, 1)}, 0.25},
		"v2 without a limit":                       {v2(), files{"proc/stat": stat(2, 1), leaf + "cpu.stat": usec(2_000_000)}, 0.25},
		"v2 within a limit":                        {v2(), files{leaf + "cpu.max": "50000 100000\n"}, -1},
		"v2, half of the own limit":                {files{leaf + "cpu.max": "50000 100000\n"}, files{leaf + "cpu.stat": usec(500_000)}, 0.5},
		"v2, a burst":                              {files{leaf + "cpu.max": "50000 100000\n"}, files{leaf + "cpu.stat": usec(1_500_000)}, 1},
		"v2, a limit of more CPUs than there are":  {files{leaf + "cpu.max": "400000 100000\n"}, files{leaf + "cpu.stat": usec(2_000_000)}, 0.5},
		"v2, a limit of more CPUs than are ours":   {files{leaf + "cpu.max": "400000 100000\n", "proc/self/status": "Cpus_allowed_list:\t1\n"}, files{leaf + "cpu.stat": usec(1_000_000)}, 0.5},
		"v2, a limit of the slice":                 {files{slice + "cpu.max": "100000 100000\n"}, files{leaf + "cpu.stat": usec(1), slice + "cpu.stat": usec(1_500_000)}, 0.75},
		"v2, the smaller limit is the slice's":     {files{leaf + "cpu.max": "100000 100000\n", slice + "cpu.max": "50000 100000\n"}, files{leaf + "cpu.stat": usec(500_000), slice + "cpu.stat": usec(500_000)}, 0.5},
		"v2, the own limit is used most":           {files{leaf + "cpu.max": "50000 100000\n", slice + "cpu.max": "200000 100000\n"}, files{leaf + "cpu.stat": usec(800_000), slice + "cpu.stat": usec(900_000)}, 0.8},
		"v2, counters went backwards":              {files{leaf + "cpu.max": "50000 100000\n", leaf + "cpu.stat": usec(7)}, files{leaf + "cpu.stat": usec(6)}, -1},
		"v2, a limit was lifted":                   {files{leaf + "cpu.max": "50000 100000\n"}, files{leaf + "cpu.max": "max 100000\n", "proc/stat": stat(2, 1)}, 0.25},
		"v1 without a limit":                       {v1("-1", "-1"), files{"proc/stat": stat(2, 1)}, 0.25},
		"v1, half of the own limit":                {v1("50000", "-1"), files{v1Leaf + "cpuacct.usage": "500000000\n"}, 0.5},
		"v1, a limit of the slice":                 {v1("-1", "100000"), files{v1Slice + "cpuacct.usage": "1500000000\n"}, 0.75},
		"v1, cpuacct groups otherwise":             {split("/docker/b"), files{"proc/stat": stat(2, 1)}, 0.25},
		"v1, cpuacct apart, but grouping the same": {split("/docker/a"), files{"sys/fs/cgroup/cpuacct/docker/a/cpuacct.usage": "250000000\n"}, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			base := files{}
			if strings.HasPrefix(name, "v2") { // the name selects the files
				base = v2()
			}
			root := machine(t, base, test.before)
			value, ok, err := cpuAfter(t, root, test.after)
			if err != nil || ok != (test.want >= 0) || ok && math.Abs(value-test.want) > 1e-9 {
				t.Errorf("got %v, %v, %v, want %v", value, ok, err, test.want)
			}
		})
	}
}

const (
	v1Leaf  = "sys/fs/cgroup/cpu,cpuacct/docker/a/"
	v1Slice = "sys/fs/cgroup/cpu,cpuacct/docker/"
)

// v1 is a container with cgroups of version 1, seen from the host, with limits of the container and
// of its parent.
func v1(leaf, slice string) files {
	return files{
		"proc/self/cgroup":          "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/x\n",
		"proc/self/mountinfo":       mountMemory + mountCPU,
		v1Leaf + "cpu.cfs_quota_us": leaf + "\n", v1Leaf + "cpu.cfs_period_us": "100000\n", v1Leaf + "cpuacct.usage": "0\n",
		v1Slice + "cpu.cfs_quota_us": slice + "\n", v1Slice + "cpu.cfs_period_us": "100000\n", v1Slice + "cpuacct.usage": "0\n",
	}
}

// split is version 1 with cpu and cpuacct mounted apart.
func split(cpuacct string) files {
	return files{
		"proc/self/cgroup": "2:cpuacct:" + cpuacct + "\n1:cpu:/docker/a\n",
		"proc/self/mountinfo": "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"33 31 0:29 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n",
		"sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us":        "50000\n",
		"sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us":       "100000\n",
		"sys/fs/cgroup/cpuacct" + cpuacct + "/cpuacct.usage": "0\n",
	}
}

func TestCPUNeedsTime(t *testing.T) {
	root := machine(t)
	synctest.Test(t, func(t *testing.T) {
		source, _, err := open(root, CPU)
		if err != nil {
			t.Fatal(err)
		}
		read := func() (float64, bool) {
			t.Helper()
			value, ok, err := source.Read()
			if err != nil {
				t.Error(err)
			}
			return value, ok
		}
		read()
		files{"proc/stat": stat(1, 1)}.write(t, root)
		time.Sleep(9 * time.Millisecond)
		if value, ok := read(); ok {
			t.Errorf("got %v after 9 ms", value)
		}
		time.Sleep(time.Millisecond)
		if value, ok := read(); !ok || value != 0.5 {
			t.Errorf("got %v, %v after 10 ms, of which the first 9 must not be lost", value, ok)
		}
	})
}

func TestMemory(t *testing.T) {
	bytes := func(n float64) string { return fmt.Sprintf("%.0f\n", n*gib) }
	v1 := files{
		"proc/self/cgroup":    "4:memory:/docker/a\n0::/\n",
		"proc/self/mountinfo": mountMemory + mountHybrid,
		"sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": "9223372036854771712\n",
		"sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes": bytes(1),
		"sys/fs/cgroup/memory/docker/a/memory.stat":           "inactive_file 0\ntotal_inactive_file 268435456\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
	}
	for name, test := range map[string]struct {
		base, change files
		want         float64
	}{
		"the machine's":                           {files{}, files{}, 0.25},
		"v2 without a limit":                      {v2(), files{}, 0.25},
		"v2, the own limit":                       {v2(), files{leaf + "memory.max": bytes(4)}, 0.25},
		"v2, without what is inactive":            {v2(), files{leaf + "memory.max": bytes(2), leaf + "memory.stat": "inactive_file 805306368\n"}, 0.125},
		"v2, a limit of the slice":                {v2(), files{slice + "memory.max": bytes(4)}, 0.5},
		"v2, two limits, the slice is fuller":     {v2(), files{leaf + "memory.max": bytes(2), slice + "memory.max": bytes(2.5)}, 0.8},
		"v2, two limits, the service is fuller":   {v2(), files{leaf + "memory.max": bytes(1.25), slice + "memory.max": bytes(4)}, 0.8},
		"v2, over the limit":                      {v2(), files{leaf + "memory.max": bytes(0.5)}, 1},
		"v2, more inactive than in use":           {v2(), files{leaf + "memory.max": bytes(2), leaf + "memory.stat": "inactive_file 2147483648\n"}, 0},
		"v2, nothing allowed":                     {v2(), files{leaf + "memory.max": "0\n"}, 1},
		"v2, a limit above the machine's memory":  {v2(), files{leaf + "memory.max": bytes(16)}, 0.25},
		"v2, a limit where nothing is known else": {v2(), files{leaf + "memory.max": bytes(16), "proc/meminfo": "what\n"}, 0.0625},
		"v1 without a limit":                      {v1, files{}, 0.25},
		"v1, the own limit":                       {v1, files{"sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": bytes(2)}, 0.375},
		"less available than the machine has":     {files{}, files{"proc/meminfo": "MemTotal: 1 kB\nMemAvailable: 2 kB\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			source, _, err := open(machine(t, test.base, test.change), Memory)
			if err != nil {
				t.Fatal(err)
			}
			if value, ok, err := source.Read(); err != nil || !ok || math.Abs(value-test.want) > 1e-9 {
				t.Errorf("got %v, %v, %v, want %v", value, ok, err, test.want)
			}
		})
	}
}

func TestStalls(t *testing.T) {
	const own = "some avg10=40.00 avg60=0.00 avg300=0.00 total=12\n"
	hybrid := files{"proc/self/cgroup": "4:memory:/docker/a\n0::/app\n", "proc/self/mountinfo": mountMemory + mountHybrid, "sys/fs/cgroup/unified/app/": ""}
	for name, test := range map[string]struct {
		signal       Signal
		base, change files
		want         float64
	}{
		"CPU of the machine":          {PressureCPU, files{}, files{}, 0.015},
		"memory of the machine":       {PressureMemory, files{}, files{}, 0.025},
		"I/O of the machine":          {PressureIO, files{}, files{}, 1},
		"slightly more than all":      {PressureIO, files{}, files{"proc/pressure/io": "some avg10=100.02 total=1\n"}, 1},
		"CPU of the service":          {PressureCPU, v2(), files{leaf + "cpu.pressure": own}, 0.4},
		"memory of the service":       {PressureMemory, v2(), files{leaf + "memory.pressure": own}, 0.4},
		"I/O of the service":          {PressureIO, v2(), files{leaf + "io.pressure": own}, 0.4},
		"not of the slice":            {PressureCPU, v2(), files{slice + "cpu.pressure": own}, 0.015},
		"of a container, from within": {PressureCPU, files{}, files{"proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.pressure": own}, 0.4},
		"of a hybrid":                 {PressureCPU, hybrid, files{"sys/fs/cgroup/unified/app/cpu.pressure": own}, 0.4},
		"of a hybrid that has none":   {PressureCPU, hybrid, files{}, 0.015},
		"of a kernel without cgroups": {PressureCPU, files{}, files{"proc/self/mountinfo": ""}, 0.015},
	} {
		t.Run(name, func(t *testing.T) {
			source, _, err := open(machine(t, test.base, test.change), test.signal)
			if err != nil {
				t.Fatal(err)
			}
			if value, ok, err := source.Read(); err != nil || !ok || math.Abs(value-test.want) > 1e-9 {
				t.Errorf("got %v, %v, %v, want %v", value, ok, err, test.want)
			}
		})
	}
}

// needsLinux skips a test of signals that other platforms do not have.
func needsLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("signals are read on Linux only")
	}
}

func TestUnsupportedSaysWhy(t *testing.T) {
	if _, err := Open("/", "load"); err == nil || errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "write one of: cpu, memory, pressure_cpu, pressure_memory, pressure_io") {
		t.Errorf("an unknown signal gives %v", err)
	}
	if runtime.GOOS != "linux" {
		for _, s := range Signals() {
			if _, err := Open("/", s); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
				t.Errorf("%s gives %v", s, err)
			}
		}
	}
	needsLinux(t)
	for signal, says := range map[Signal]string{CPU: "/proc/stat", Memory: "MemAvailable", PressureCPU: "CONFIG_PSI", PressureMemory: "psi=1", PressureIO: "Linux 4.20"} {
		_, err := Open(t.TempDir(), signal)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), string(signal)) {
			t.Errorf("without any files, %s gives: %v", signal, err)
		}
	}
}

func TestBrokenFilesAreErrors(t *testing.T) {
	needsLinux(t)
	limited := files{leaf + "cpu.max": "50000 100000\n", leaf + "memory.max": "1000000\n"}
	for name, test := range map[string]struct {
		signal Signal
		base   files
		file   string
		texts  []string
	}{
		"stat":             {CPU, v2(), "proc/stat", []string{"", "cpu 1 2 3 4\n", "cpu0 1 2 3 -4\n", "cpu0 1 2 3 Inf\n", "cpu0 1 2 3 NaN\n", "cpu99999999999999999999 1 2 3 4\n", "cpu0x 1 2 3 4\n"}},
		"status":           {CPU, v2(), "proc/self/status", []string{"Cpus_allowed_list: x\n", "Cpus_allowed_list: 3-1\n", "Cpus_allowed_list: 0-99999999999\n", "Cpus_allowed_list:\n"}},
		"cpu.max":          {CPU, v2(), leaf + "cpu.max", []string{"", "max", "0 100000\n", "5 0\n", "-1 5\n", "a b\n", "max b\n", "1 2 3\n", "1e9 5\n"}},
		"cpu.stat":         {CPU, v2(), leaf + "cpu.stat", []string{"", "usage_usec\n", "usage_usec x\n", "usage_usec -1\n"}},
		"cpu.cfs_quota_us": {CPU, v1("50000", "-1"), v1Leaf + "cpu.cfs_quota_us", []string{"", "-2\n", "x\n", "0\n", "99999999999999999999999\n"}},
		"cpu.cfs_period":   {CPU, v1("50000", "-1"), v1Leaf + "cpu.cfs_period_us", []string{"", "-1\n", "0\n"}},
		"cpuacct.usage":    {CPU, v1("50000", "-1"), v1Leaf + "cpuacct.usage", []string{"", "max\n", "x\n"}},
		"cgroup, cpu":      {CPU, v2(), "proc/self/cgroup", []string{"x\n", "0:\n", "0::\n", "0::a\n"}},
		"cgroup, memory":   {Memory, v2(), "proc/self/cgroup", []string{"x\n"}},
		"cgroup, io":       {PressureIO, v2(), "proc/self/cgroup", []string{"x\n"}},
		"meminfo":          {Memory, files{}, "proc/meminfo", []string{"", "\n\n", "MemTotal:\nMemAvailable: 1\n", "MemTotal: 5 kB\n", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: x kB\nMemAvailable: 0 kB\n"}},
		"memory.max":       {Memory, v2(), leaf + "memory.max", []string{"", "x\n", "-5\n", "NaN\n"}},
		"memory.current":   {Memory, v2(), leaf + "memory.current", []string{"", "x\n", "max\n"}},
		"memory.stat":      {Memory, v2(), leaf + "memory.stat", []string{"", "inactive_file\n", "inactive_file x\n"}},
		"pressure":         {PressureCPU, files{}, "proc/pressure/cpu", []string{"", "full avg10=1.00\n", "some avg60=1.00\n", "some avg10=\n", "some avg10=NaN\n", "some avg10=Inf\n", "some avg10=-1\n", "some avg10=x\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := test.base
			if strings.HasPrefix(test.file, leaf) {
				base = maps.Clone(base)
				maps.Copy(base, limited)
			}
			root := machine(t, base)
			if _, err := Open(root, test.signal); err != nil {
				t.Fatal("with valid files: ", err)
			}
			for _, text := range test.texts {
				files{test.file: text}.write(t, root)
				_, err := Open(root, test.signal)
				if err == nil || errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), string(test.signal)) {
					t.Errorf("%q gives %v", text, err)
				}
			}
		})
	}
}

// The machine that the tests run on.
func TestThisMachine(t *testing.T) {
	needsLinux(t)
	for _, signal := range Signals() {
		source, err := Open("/", signal)
		if err != nil {
			if !errors.Is(err, ErrUnsupported) {
				t.Error(err)
			}
			t.Log(err)
			continue
		}
		value, ok, err := source.Read()
		for deadline := time.Now().Add(2 * time.Second); !ok && err == nil && time.Now().Before(deadline); {
			<-time.After(50 * time.Millisecond) // real time, so that the kernel's counters advance
			value, ok, err = source.Read()
		}
		if err != nil || !(value >= 0 && value <= 1) || !ok && signal != CPU {
			t.Errorf("%s is %v, %v, %v", signal, value, ok, err)
		}
		t.Logf("%s: %.3f, %v", signal, value, ok)
	}
}
