// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// unified stands for version 2, which has one tree of cgroups for all controllers.
const unified = ""

// place is where the process is in one tree of cgroups.
type place struct {
	mount string // the directory where the tree, or what is shown of it, begins
	rel   string // from there; "." if the process is there
	v2    bool
}

// levels returns the directories of the process's cgroup and of all that are
// around it, as far as they are shown.
func (p place) levels() (dirs []string) {
	for rel := p.rel; ; rel = path.Dir(rel) {
		dirs = append(dirs, filepath.Join(p.mount, rel))
		if rel == "." {
			return dirs
		}
	}
}

// locate returns where the process is in the tree of a controller: of version 1
// if it is there, as it is on hybrids too, or of version 2. It returns false if
// there is none, or if it is not mounted.
func locate(root, controller string) (place, bool, error) {
	data, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil // a kernel without cgroups
	}
	if err != nil {
		return place{}, false, err
	}
	cgroups, err := parseCgroups(string(data))
	if err != nil {
		return place{}, false, fmt.Errorf("%s: %w", filepath.Join(root, "proc/self/cgroup"), err)
	}
	data, err = os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return place{}, false, err
	}
	mounts := parseMounts(string(data))
	if cgroup, ok := cgroups[controller]; ok && controller != unified {
		if p, ok := find(root, cgroup, mounts, controller); ok {
			return p, true, nil
		}
	}
	if cgroup, ok := cgroups[unified]; ok {
		p, ok := find(root, cgroup, mounts, unified)
		return p, ok, nil
	}
	return place{}, false, nil
}

// find returns where the files of a cgroup are.
func find(root, cgroup string, mounts []mount, controller string) (found place, ok bool) {
	for _, m := range mounts {
		if m.controls(controller) {
			p := place{filepath.Join(root, m.point), ".", controller == unified}
			if rel, within := relative(m.root, cgroup); within {
				if info, err := os.Stat(filepath.Join(p.mount, rel)); err == nil && info.IsDir() {
					p.rel = rel
					return p, true
				}
			} else if !strings.HasPrefix(m.root, "/..") {
				continue // what is shown are other cgroups
			}
			// A container may name the cgroup as the host does, but show it, or one
			// around it, where the tree begins.
			if !ok {
				found, ok = p, true
			}
		}
	}
	return found, ok
}

// relative returns the path from a cgroup to one in it.
func relative(from, cgroup string) (rel string, within bool) {
	rel, within = strings.CutPrefix(cgroup, strings.TrimSuffix(from, "/"))
	if !within || rel != "" && rel[0] != '/' {
		return "", false
	}
	// What is outside of a cgroup namespace has a path that begins with /.. in it.
	rel = path.Clean(strings.TrimPrefix(rel, "/"))
	return rel, filepath.IsLocal(rel)
}

// parseCgroups parses /proc/self/cgroup, lines such as "4:cpu,cpuacct:/a" and
// "0::/a", into the process's cgroup by controller.
func parseCgroups(text string) (map[string]string, error) {
	cgroups := make(map[string]string)
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 || !strings.HasPrefix(fields[2], "/") {
			return nil, fmt.Errorf("has the line %.80q, which names no cgroup", line)
		}
		if fields[0] == "0" {
			cgroups[unified] = fields[2]
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller != unified {
				cgroups[controller] = fields[2]
			}
		}
	}
	return cgroups, nil
}

// mount is where cgroups are mounted.
type mount struct {
	root, point string // the cgroup that is shown, and where
	v2          bool
	controllers []string
}

func (m *mount) controls(controller string) bool {
	if controller == unified {
		return m.v2
	}
	return !m.v2 && slices.Contains(m.controllers, controller)
}

// parseMounts parses /proc/self/mountinfo, lines such as
// "32 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu". All that
// are no mounts of cgroups are passed over: they are none of our business.
func parseMounts(text string) (mounts []mount) {
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		fields, filesystem := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(filesystem) < 2 || filesystem[0] != "cgroup" && filesystem[0] != "cgroup2" {
			continue
		}
		mounts = append(mounts, mount{
			root:        unescape.Replace(fields[3]),
			point:       unescape.Replace(fields[4]),
			v2:          filesystem[0] == "cgroup2",
			controllers: strings.Split(filesystem[len(filesystem)-1], ","),
		})
	}
	return mounts
}

// unescape undoes what the kernel does to paths in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
