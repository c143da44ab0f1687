// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// unified names version 2, which has one hierarchy for all controllers.
const unified = ""

// cgroupPath is the path of the process's cgroup in one hierarchy.
type cgroupPath struct {
	mount string // mount point of the hierarchy, or of its visible part
	rel   string // path of the cgroup below mount; "." for mount itself
	v2    bool
}

// ancestors returns the directories of the cgroup and of its visible ancestors.
func (p cgroupPath) ancestors() (dirs []string) {
	for rel := p.rel; ; rel = path.Dir(rel) {
		dirs = append(dirs, filepath.Join(p.mount, rel))
		if rel == "." {
			return dirs
		}
	}
}

// locate returns the cgroup of the process in the hierarchy of a controller: that of version
// 1 if the controller is in one, as on hybrid systems, else that of version 2. It returns
// false if there is none, or if it is not mounted.
func locate(root, controller string) (cgroupPath, bool, error) {
	cgroups, err := readCgroups(root)
	if errors.Is(err, fs.ErrNotExist) {
		return cgroupPath{}, false, nil // a kernel without cgroups
	}
	if err != nil {
		return cgroupPath{}, false, err
	}
	data, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cgroupPath{}, false, err
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
	return cgroupPath{}, false, nil
}

// readCgroups returns the cgroups of the process by controller.
func readCgroups(root string) (map[string]string, error) {
	proc, err := procfs.NewFS(filepath.Join(root, "proc"))
	if err != nil {
		return nil, err
	}
	self, err := proc.Self()
	if err != nil {
		return nil, err
	}
	cgroups, err := self.Cgroups()
	if err != nil {
		return nil, err
	}
	byController := make(map[string]string)
	for _, c := range cgroups {
		if !strings.HasPrefix(c.Path, "/") {
			return nil, fmt.Errorf("%s: invalid cgroup %.80q", filepath.Join(root, "proc/self/cgroup"), c.Path)
		}
		if c.HierarchyID == 0 {
			byController[unified] = c.Path
			continue
		}
		for _, controller := range c.Controllers {
			byController[controller] = c.Path
		}
	}
	return byController, nil
}

// find returns the directory of a cgroup.
func find(root, cgroup string, mounts []mount, controller string) (found cgroupPath, ok bool) {
	for _, m := range mounts {
		if m.controls(controller) {
			p := cgroupPath{filepath.Join(root, m.point), ".", controller == unified}
			if rel, within := relative(m.root, cgroup); within {
				if info, err := os.Stat(filepath.Join(p.mount, rel)); err == nil && info.IsDir() {
					p.rel = rel
					return p, true
				}
			} else if !strings.HasPrefix(m.root, "/..") {
				continue // the mount shows other cgroups
			}
			// A container may see the host's name of its cgroup, while that cgroup, or an
			// ancestor, is mounted as the root.
			if !ok {
				found, ok = p, true
			}
		}
	}
	return found, ok
}

// relative returns the path of a cgroup relative to an ancestor.
func relative(from, cgroup string) (rel string, within bool) {
	rel, within = strings.CutPrefix(cgroup, strings.TrimSuffix(from, "/"))
	if !within || rel != "" && rel[0] != '/' {
		return "", false
	}
	// A path outside of the cgroup namespace begins with /.. in it.
	rel = path.Clean(strings.TrimPrefix(rel, "/"))
	return rel, filepath.IsLocal(rel)
}

// limitOf returns the limit that was read from a file of a cgroup, or +Inf if there is no
// such file: the root cgroup has none, and neither has a cgroup without the controller. A
// cgroup that was removed has none either; that is an error.
func limitOf(dir string, limit float64, err error) (float64, error) {
	if !errors.Is(err, fs.ErrNotExist) {
		return limit, err
	}
	_, err = os.Stat(dir)
	return math.Inf(1), err
}

// mount is a mount of a cgroup hierarchy.
type mount struct {
	root, point string // the mounted cgroup and the mount point
	v2          bool
	controllers []string
}

func (m *mount) controls(controller string) bool {
	if controller == unified {
		return m.v2
	}
	return !m.v2 && slices.Contains(m.controllers, controller)
}

// parseMounts parses /proc/self/mountinfo, lines such as "32 31 0:29 / /sys/fs/cgroup/cpu rw
// shared:9 - cgroup cgroup rw,cpu". It skips mounts of other file systems. procfs is not
// used: it rejects the whole file for one line that it cannot split, and Docker Desktop on
// WSL has such lines, with a space in an option; it also leaves the escapes in paths.
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

// unescape reverts the kernel's escapes of paths in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
