// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of the message's fields.
const (
	cpuField = 1 + iota
	memoryField
	rpsField
	requestCostField
	utilizationField
	rpsFractionalField
	epsField
	namedMetricsField
	applicationField
	endOfFields
)

// field is one field of the message.
type field struct {
	name  string         // in the proto, and in TEXT
	camel string         // in JSON, where name is allowed too
	wire  protowire.Type // BytesType for the maps
	max   float64        // of its values
}

// unbounded lets pass all that is finite.
const unbounded = math.MaxFloat64

var fields = [endOfFields]field{
	cpuField:           {"cpu_utilization", "cpuUtilization", protowire.Fixed64Type, unbounded},
	memoryField:        {"mem_utilization", "memUtilization", protowire.Fixed64Type, 1},
	rpsField:           {"rps", "rps", protowire.VarintType, math.MaxUint64},
	requestCostField:   {"request_cost", "requestCost", protowire.BytesType, unbounded},
	utilizationField:   {"utilization", "utilization", protowire.BytesType, 1},
	rpsFractionalField: {"rps_fractional", "rpsFractional", protowire.Fixed64Type, unbounded},
	epsField:           {"eps", "eps", protowire.Fixed64Type, unbounded},
	namedMetricsField:  {"named_metrics", "namedMetrics", protowire.BytesType, unbounded},
	applicationField:   {"application_utilization", "applicationUtilization", protowire.Fixed64Type, unbounded},
}

func (f *field) isMap() bool { return f.wire == protowire.BytesType }

// check reports what is wrong with v as a value of the field.
func (f *field) check(v float64) error {
	if v >= 0 && v <= f.max && (f.wire != protowire.VarintType || v == math.Trunc(v)) { // which NaN is not
		return nil
	}
	switch {
	case f.wire == protowire.VarintType:
		return fmt.Errorf("%s must be a whole number from 0 to 2^64-1, got %v", f.name, v)
	case f.max == unbounded:
		return fmt.Errorf("%s must be finite and not negative, got %v", f.name, v)
	}
	return fmt.Errorf("%s must be from 0 to %v, got %v", f.name, f.max, v)
}

// parse returns what s says in decimal, which is all that the forms have in
// common: [strconv.ParseFloat] would take NaN, Inf and hexadecimal, too.
func (f *field) parse(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, fmt.Errorf("%s must be a finite decimal number, got %.40q", f.name, s)
	}
	return v, f.check(v)
}

// draft is a report in the making.
type draft struct {
	partial Report
	rps     float64 // what stands in for a rate that is absent
	entries int     // of all maps
	given   [endOfFields]bool
}

func (d *draft) report() Report {
	if d.partial.RPS == 0 {
		d.partial.RPS = d.rps
	}
	return d.partial
}

// once reports an error if it is asked for a field twice. In protobuf, the last
// one of many counts; in what people write, two are a mistake.
func (d *draft) once(number int) error {
	if d.given[number] {
		return fmt.Errorf("%s must be there at most once", fields[number].name)
	}
	d.given[number] = true
	return nil
}

// set sets a field that is no map. The value has been checked.
func (d *draft) set(number int, v float64) {
	switch number {
	case cpuField:
		d.partial.CPU = v
	case memoryField:
		d.partial.Memory = v
	case rpsField:
		d.rps = v
	case rpsFractionalField:
		d.partial.RPS = v
	case epsField:
		d.partial.EPS = v
	case applicationField:
		d.partial.Application = v
	}
}

// table returns the map that a field is.
func (d *draft) table(number int) *map[string]float64 {
	switch number {
	case requestCostField:
		return &d.partial.RequestCost
	case utilizationField:
		return &d.partial.Utilization
	}
	return &d.partial.NamedMetrics
}

// has reports whether a map has an entry.
func (d *draft) has(number int, key string) bool {
	_, ok := (*d.table(number))[key]
	return ok
}

// put adds an entry to a map, or replaces it. The value has been checked.
func (d *draft) put(number int, key string, v float64) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("%s must have names in UTF-8, got %.40q", fields[number].name, key)
	}
	if !d.has(number, key) {
		if d.entries == maxEntries {
			return fmt.Errorf("the maps must have at most %d entries", maxEntries)
		}
		d.entries++
	}
	m := d.table(number)
	if *m == nil {
		*m = make(map[string]float64)
	}
	(*m)[key] = v
	return nil
}

// putOnce is put for the forms in which two of a name are a mistake.
func (d *draft) putOnce(number int, key string, v float64) error {
	if d.has(number, key) {
		return fmt.Errorf("%s.%.40s must be there at most once", fields[number].name, key)
	}
	return d.put(number, key, v)
}
