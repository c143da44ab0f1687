// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stallSource is a [Source] of one of the Pressure signals: a file.
type stallSource string

// openStall returns the source for a resource: cpu, memory or io.
func openStall(root, resource string) (Source, error) {
	p, ok, err := locate(root, unified)
	if err != nil {
		return nil, err
	}
	if ok {
		// The outermost cgroup has this file or has not, and a cgroup may have been
		// told not to keep it; then what the machine says is the best there is.
		s := stallSource(filepath.Join(p.mount, p.rel, resource+".pressure"))
		if _, err := os.ReadFile(string(s)); err == nil {
			return s, nil
		}
	}
	return stallSource(filepath.Join(root, "proc/pressure", resource)), nil
}

// Read implements [Source].
func (s stallSource) Read() (value float64, ok bool, err error) {
	data, err := os.ReadFile(string(s))
	if err != nil {
		return 0, false, err
	}
	if value, err = parseStall(string(data)); err != nil {
		return 0, false, fmt.Errorf("%s: %w", s, err)
	}
	return value, true, nil
}

// parseStall returns the share of the latest 10 s in which some task stalled, from
// a line such as "some avg10=0.12 avg60=0.05 avg300=0.01 total=1234".
func parseStall(text string) (float64, error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "some" {
			continue
		}
		for _, word := range words[1:] {
			percent, ok := strings.CutPrefix(word, "avg10=")
			if !ok {
				continue
			}
			n, err := strconv.ParseFloat(percent, 64)
			if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
				return 0, fmt.Errorf("has %.40q for a percentage", percent)
			}
			return share(n, 100), nil
		}
	}
	return 0, errors.New("has no line with some and avg10")
}
