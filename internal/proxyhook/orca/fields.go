// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The field numbers of OrcaLoadReport.
const (
	cpuUtilization = 1 + iota
	memUtilization
	rps
	requestCost
	utilization
	rpsFractional
	eps
	namedMetrics
	applicationUtilization
	endOfFields
)

// field describes one field of OrcaLoadReport.
type field struct {
	name, camel string // name in the proto and in TEXT; JSON allows both
	isMap       bool
	read        bool // false if the field is skipped, whatever its value
}

var fields = [endOfFields]field{
	cpuUtilization:         {name: "cpu_utilization", camel: "cpuUtilization", read: true},
	memUtilization:         {name: "mem_utilization", camel: "memUtilization"},
	rps:                    {name: "rps", camel: "rps", read: true},
	requestCost:            {name: "request_cost", camel: "requestCost", isMap: true},
	utilization:            {name: "utilization", camel: "utilization", isMap: true},
	rpsFractional:          {name: "rps_fractional", camel: "rpsFractional", read: true},
	eps:                    {name: "eps", camel: "eps", read: true},
	namedMetrics:           {name: "named_metrics", camel: "namedMetrics", isMap: true},
	applicationUtilization: {name: "application_utilization", camel: "applicationUtilization", read: true},
}

// parser collects the fields of one report.
type parser struct {
	report Report
	rps    float64 // the deprecated rate, used if rps_fractional is 0
	seen   [endOfFields]bool

	metric     Metric
	seenMetric bool
}

// result returns the parsed report.
func (p *parser) result() Report {
	if p.report.RPS == 0 {
		p.report.RPS = p.rps
	}
	return p.report
}

// checkOnce returns an error for a repeated field. In protobuf the last value of a field counts; in
// TEXT and JSON a repetition is an error.
func (p *parser) checkOnce(number int) error {
	if p.seen[number] {
		return fmt.Errorf("%s must be there at most once", fields[number].name)
	}
	p.seen[number] = true
	return nil
}

// setDecimal sets a field from a decimal number, the common syntax of TEXT and JSON.
// [strconv.ParseFloat] also accepts NaN, Inf and hexadecimal.
func (p *parser) setDecimal(number int, s string) error {
	v, err := decimal(s)
	if err != nil {
		return fmt.Errorf("%s %w", fields[number].name, err)
	}
	return p.set(number, v)
}

func decimal(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, fmt.Errorf("must be a finite decimal number, got %.40q", s)
	}
	return v, nil
}

// set sets a field that is read.
func (p *parser) set(number int, v float64) error {
	if number == rps && (v < 0 || v > math.MaxUint64 || v != math.Trunc(v)) {
		return fmt.Errorf("rps must be a whole number from 0 to 2^64-1, got %v", v)
	}
	if !(v >= 0 && v <= math.MaxFloat64) { // false for NaN
		return fmt.Errorf("%s must be finite and not negative, got %v", fields[number].name, v)
	}
	switch number {
	case cpuUtilization:
		p.report.CPU = v
	case applicationUtilization:
		p.report.Application = v
	case rps:
		p.rps = v
	case rpsFractional:
		p.report.RPS = v
	case eps:
		p.report.EPS = v
	}
	return nil
}
