// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The words behind a fence of a README say what a reader does with the block:
//
//	```sh                types its commands; each exits with 0
//	```sh background     the same, but the last runs in a terminal of its own until it is interrupted
//	```text output       compares it with what the block before has printed: its lines, in this order, among others
//	```text about        the same, but numbers may differ, by a factor of two
//	```text log          finds its lines in the log of Caddy
//	```text diagram      looks at it
//
// With `interrupted` behind that, the terminals of the background are interrupted
// first, other than Caddy's.

// fencedBlock is a block of a README.
type fencedBlock struct {
	line        int
	kind        string // sh, or the second word of a text
	background  bool
	interrupted bool
	text        string
}

// readmeBlocks returns the blocks of a README that a reader types or looks at.
func readmeBlocks(t *testing.T, page string) (all []fencedBlock) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		t.Fatal(err)
	}
	var open *fencedBlock
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case !fence && open != nil:
			open.text += line
		case fence && open == nil:
			open = &fencedBlock{line: number}
			words := strings.Fields(info)
			if len(words) == 0 {
				words = []string{""}
			}
			if open.kind = words[0]; open.kind == "text" {
				if len(words) < 2 || !slices.Contains([]string{"output", "about", "log", "diagram"}, words[1]) {
					t.Errorf("%s:%d: write `text output`, `text about`, `text log` or `text diagram`", page, number)
					words = append(words, "diagram")
				}
				open.kind = words[1]
			}
			open.background, open.interrupted = slices.Contains(words, "background"), slices.Contains(words, "interrupted")
		case fence:
			if slices.Contains([]string{"sh", "output", "about", "log"}, open.kind) {
				all = append(all, *open)
			}
			open = nil
		}
	}
	return all
}

// commands returns the commands of a block, each of which may have several lines.
func (b *fencedBlock) commands(t *testing.T) (all []string) {
	t.Helper()
	command := ""
	for line := range strings.Lines(b.text) {
		command += line
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(command)
		if strings.HasSuffix(command, "\\\n") || check.Run() != nil {
			continue // there is more of it
		}
		if command = strings.TrimSpace(command); command != "" {
			all = append(all, command)
		}
		command = ""
	}
	if command != "" {
		t.Errorf("line %d: this is no whole command: %s", b.line, command)
	}
	return all
}

// printed reports whether the lines of a text are among those of an output, in that
// order. Numbers may differ by a factor of two if about is set.
func printed(output, text string, about bool) bool {
	all := slices.Collect(strings.Lines(output))
	for want := range strings.Lines(text) {
		if want = strings.TrimSpace(want); want == "" || want == "..." {
			continue
		}
		i := slices.IndexFunc(all, func(line string) bool {
			return strings.Contains(line, want) || about && similar(line, want)
		})
		if i < 0 {
			return false
		}
		all = all[i+1:]
	}
	return true
}

// What differs from run to run, beside numbers: identifiers, and reasons.
var (
	uuids   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	reasons = regexp.MustCompile(`\([a-z_]+\)`)
	numbers = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
)

// similar reports whether a line begins as another does, but for numbers that differ
// little, identifiers and reasons.
func similar(line, want string) bool {
	mask := func(text string) (string, []string) {
		text = reasons.ReplaceAllString(uuids.ReplaceAllString(text, "ID"), "()")
		return numbers.ReplaceAllString(text, "N"), numbers.FindAllString(text, -1)
	}
	got, values := mask(strings.TrimSpace(line))
	expected, wanted := mask(want)
	if !strings.HasPrefix(got, expected) {
		return false
	}
	for i, text := range wanted {
		w, _ := strconv.ParseFloat(text, 64)
		if v, _ := strconv.ParseFloat(values[i], 64); v < w/2-1 || v > 2*w+1 {
			return false
		}
	}
	return true
}

// logged reports whether a line of a log, as Caddy shows it on a terminal, is in the
// log, which has it as JSON. Numbers may differ.
func logged(log, line string) bool {
	msg, rest, _ := strings.Cut(strings.TrimSpace(line), "  ")
	fields := make(map[string]any)
	if rest != "" {
		if err := json.Unmarshal([]byte(strings.Replace(rest, ", ...}", "}", 1)), &fields); err != nil {
			return false
		}
	}
	mask := func(v any) string { return numbers.ReplaceAllString(fmt.Sprint(v), "N") }
	for entry := range strings.Lines(log) {
		if !strings.Contains(entry, msg) {
			continue
		}
		has := make(map[string]any)
		if json.Unmarshal([]byte(entry), &has) != nil || has["msg"] != msg {
			continue
		}
		same := true
		for name, v := range fields {
			same = same && mask(has[name]) == mask(v)
		}
		if same {
			return true
		}
	}
	return false
}
