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

// psiMeter is a [Meter] of one of the Pressure signals: the path of a file with pressure
// stall information.
type psiMeter string

// openPSI returns the source for a resource: cpu, memory or io.
func openPSI(root, resource string) (Meter, error) {
	p, ok, err := locate(root, unified)
	if err != nil {
		return nil, err
	}
	if ok {
		// The root cgroup may lack this file, and accounting may be disabled for a cgroup;
		// then fall back to the file of the machine.
		s := psiMeter(filepath.Join(p.mount, p.rel, resource+".pressure"))
		if _, err := os.ReadFile(string(s)); err == nil {
			return s, nil
		}
	}
	return psiMeter(filepath.Join(root, "proc/pressure", resource)), nil
}

// Read implements [Meter].
func (s psiMeter) Read() (value float64, ok bool, err error) {
	value, err = parseFile(string(s), parsePSI)
	return value, err == nil, err
}

// parsePSI returns the share of the latest 10 s in which some task stalled, from a line such
// as "some avg10=0.12 avg60=0.05 avg300=0.01 total=1234". procfs only reads the files of the
// machine, not those of cgroups, which have the same format.
func parsePSI(text string) (float64, error) {
	for line := range strings.Lines(text) {
		averages, ok := strings.CutPrefix(line, "some avg10=")
		if !ok {
			continue
		}
		percent, _, _ := strings.Cut(strings.TrimSpace(averages), " ")
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= math.MaxFloat64) {
			return 0, fmt.Errorf("invalid percentage %.40q", percent)
		}
		return share(n, 100), nil
	}
	return 0, errors.New("no line with some and avg10")
}
