// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mountDockerDesktop is a mount of Docker Desktop on WSL, with a space that is not escaped.
const mountDockerDesktop = `2260 190 0:311 / /Docker/host rw,noatime - 9p drvfs rw,aname=drvfs;path=C:\Program Files\Docker;symlinkroot=/mnt/,trans=virtio` + "\n"

func TestLocate(t *testing.T) {
	const v1 = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/b\n1:name=systemd:/x\n"
	const hybrid = v1 + "0::/docker/c\n"
	dirs := func(names ...string) files {
		fs := make(files)
		for _, name := range names {
			fs[name+"/"] = ""
		}
		return fs
	}
	for name, test := range map[string]struct {
		cgroup, mounts string
		dirs           files
		controller     string
		want           []string // none for not found
	}{
		"v2": {"0::/a/b\n", mountV2, dirs("sys/fs/cgroup/a/b"), "cpu",
			[]string{"sys/fs/cgroup/a/b", "sys/fs/cgroup/a", "sys/fs/cgroup"}},
		"v2, at the top": {"0::/\n", mountV2, dirs("sys/fs/cgroup"), "cpu", []string{"sys/fs/cgroup"}},
		"v2, a container that names it as the host does, but shows it at the top": {
			"0::/kubepods/pod1/c\n", mountV2, dirs("sys/fs/cgroup"), "memory", []string{"sys/fs/cgroup"}},
		"v2, a part of the tree": {"0::/docker/a/b\n", strings.Replace(mountV2, " / ", " /docker/a ", 1), dirs("sys/fs/cgroup/b"), "cpu",
			[]string{"sys/fs/cgroup/b", "sys/fs/cgroup"}},
		"v2, of which a namespace sees the inner part": {"0::/\n", strings.Replace(mountV2, " / ", " /../.. ", 1), dirs("sys/fs/cgroup"), "cpu",
			[]string{"sys/fs/cgroup"}},
		"v2, other cgroups":            {"0::/docker/ab\n", strings.Replace(mountV2, " / ", " /docker/a ", 1), dirs("sys/fs/cgroup"), "cpu", nil},
		"v2, outside of the namespace": {"0::/../b\n", mountV2, dirs("sys/fs/cgroup", "sys/fs/b"), "cpu", nil},
		"v2, a cgroup that has gone":   {"0::/a (deleted)\n", mountV2, dirs("sys/fs/cgroup"), "cpu", []string{"sys/fs/cgroup"}},
		"v2, mounted twice": {"0::/a\n", strings.Replace(mountV2, "/sys", "/host/sys", 1) + mountV2, dirs("host/sys/fs/cgroup", "sys/fs/cgroup/a"), "cpu",
			[]string{"sys/fs/cgroup/a", "sys/fs/cgroup"}},
		"v2, with a blank": {"0::/a b\n", strings.Replace(mountV2, "/sys/fs", `/s\040s\134fs`, 1), dirs(`s s\fs/cgroup/a b`), "cpu",
			[]string{`s s\fs/cgroup/a b`, `s s\fs/cgroup`}},
		"v1": {v1, mountMemory + mountCPU, dirs("sys/fs/cgroup/cpu,cpuacct/docker/b"), "cpuacct",
			[]string{"sys/fs/cgroup/cpu,cpuacct/docker/b", "sys/fs/cgroup/cpu,cpuacct/docker", "sys/fs/cgroup/cpu,cpuacct"}},
		"v1, a container that shows its own": {v1, strings.Replace(mountMemory, " / ", " /docker/a ", 1), dirs("sys/fs/cgroup/memory"), "memory",
			[]string{"sys/fs/cgroup/memory"}},
		"v1, where none is unified": {v1, mountMemory + mountCPU, nil, unified, nil},
		"v1, not mounted":           {v1, mountMemory, nil, "cpu", nil},
		"hybrid, controllers":       {hybrid, mountMemory + mountCPU + mountHybrid, dirs("sys/fs/cgroup/memory/docker/a", "sys/fs/cgroup/unified/docker/c"), "memory", []string{"sys/fs/cgroup/memory/docker/a", "sys/fs/cgroup/memory/docker", "sys/fs/cgroup/memory"}},
		"hybrid, unified":           {hybrid, mountMemory + mountCPU + mountHybrid, dirs("sys/fs/cgroup/unified/docker/c"), unified, []string{"sys/fs/cgroup/unified/docker/c", "sys/fs/cgroup/unified/docker", "sys/fs/cgroup/unified"}},
		"hybrid, a controller of v2": {"4:memory:/docker/a\n0::/docker/c\n", mountMemory + mountHybrid, dirs("sys/fs/cgroup/unified/docker/c"), "cpu",
			[]string{"sys/fs/cgroup/unified/docker/c", "sys/fs/cgroup/unified/docker", "sys/fs/cgroup/unified"}},
		"no cgroups": {"", mountV2, nil, "cpu", nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files{"proc/self/cgroup": test.cgroup, "proc/self/mountinfo": test.mounts + mountDockerDesktop + "not a line of mountinfo\n\n"}.write(t, root)
			test.dirs.write(t, root)
			p, ok, err := locate(root, test.controller)
			if err != nil || ok != (test.want != nil) {
				t.Fatalf("got %v, %v, %v", p, ok, err)
			}
			var want []string
			for _, dir := range test.want {
				want = append(want, filepath.Join(root, dir))
			}
			if ok && !slices.Equal(p.ancestors(), want) {
				t.Errorf("got  %q,\nwant %q", p.ancestors(), want)
			}
		})
	}
}

func TestWithoutCgroups(t *testing.T) {
	root := machine(t)
	for _, name := range []string{"mountinfo", "cgroup", "status"} {
		if err := os.Remove(filepath.Join(root, "proc/self", name)); err != nil {
			t.Fatal(err)
		}
		for _, signal := range Signals() {
			source, _, err := open(root, signal)
			if err != nil {
				t.Fatal(err)
			}
			if value, ok, err := source.Read(); err != nil || ok != (signal != CPU) {
				t.Errorf("without %s, %s is %v, %v, %v", name, signal, value, ok, err)
			}
		}
	}
}

// A removed cgroup is an error, although it lacks the limit file like a cgroup without a limit.
func TestRemovedCgroupIsAnError(t *testing.T) {
	for _, signal := range []Signal{CPU, Memory} {
		root := machine(t, v2(), files{leaf + "cpu.max": "50000 100000\n", leaf + "memory.max": "50000\n"})
		source, _, err := open(root, signal)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := source.Read(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(filepath.Join(root, leaf)); err != nil {
			t.Fatal(err)
		}
		if s, isCPU := source.(*cpuMeter); isCPU {
			s.before.at = s.before.at.Add(-minInterval)
		}
		if value, ok, err := source.Read(); !errors.Is(err, fs.ErrNotExist) || ok {
			t.Errorf("%s is %v, %v, %v", signal, value, ok, err)
		}
	}
}
