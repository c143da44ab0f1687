// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Fact is one property of the machine, for reports.
type Fact struct{ Name, Value string }

// Facts returns the properties of the machine that figures depend on, as far as the system provides
// them.
func Facts() []Fact {
	facts := []Fact{
		{"processor", field("/proc/cpuinfo", "model name")},
		{"CPUs", fmt.Sprint(runtime.NumCPU())},
		{"memory", gibibytes(field("/proc/meminfo", "MemTotal"))},
		{"system", strings.Trim(assignment("/etc/os-release", "PRETTY_NAME"), `"`)},
		{"kernel", firstLine("/proc/sys/kernel/osrelease")},
		{"Go", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH},
		{"revision", revision()},
	}
	var known []Fact
	for _, f := range facts {
		if f.Value != "" {
			known = append(known, f)
		}
	}
	return known
}

// gibibytes reads a text such as "24683620 kB".
func gibibytes(text string) string {
	var kibibytes float64
	if _, err := fmt.Sscan(text, &kibibytes); err != nil {
		return ""
	}
	return fmt.Sprintf("%.1f GiB", kibibytes/(1<<20))
}

// field returns the value of the first line "name : value" of a file.
func field(file, name string) string { return lineValue(file, name, ":") }

// assignment returns the value of the first line "name=value".
func assignment(file, name string) string { return lineValue(file, name, "=") }

func lineValue(file, name, separator string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// revision returns the commit of the working directory, and whether files differ from it.
func revision() string {
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(commit))
	if changed, err := exec.Command("git", "status", "--porcelain").Output(); err == nil && len(changed) > 0 {
		text += " with changes"
	}
	return text
}

// ResidentMemory returns the resident memory of a process in bytes; 0 if the system does not
// provide it.
func ResidentMemory(pid int) int64 {
	var kilobytes int64
	fmt.Sscan(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), &kilobytes)
	return kilobytes * 1024
}
