// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package orca reads the load reports that backends send with their responses,
// in the header or in the trailer: Open Request Cost Aggregation, with the
// message xds.data.orca.v3.OrcaLoadReport of github.com/cncf/xds.
//
//	endpoint-load-metrics-bin: BASE64        the message as protobuf (gRFC A51)
//	endpoint-load-metrics: BIN BASE64        likewise
//	endpoint-load-metrics: TEXT eps=1, ...   its fields, those of maps as map.key
//	endpoint-load-metrics: JSON {...}        the message as proto3 JSON
//
// The first of the two fields counts. A report that is wrong in one value is wrong
// as a whole: who sends a utilization of -1 is not to be trusted with the rest.
package orca

import (
	"fmt"
	"math"
	"net/http"
	"strings"
)

// Envoy once read endpoint-load-metrics-json, too. To look for it would cost every
// response half as much again.
const (
	header    = "Endpoint-Load-Metrics"
	headerBin = "Endpoint-Load-Metrics-Bin"
)

// A report comes with any response, so it must be cheap to read.
const (
	maxLength  = 8 << 10 // bytes of the field
	maxEntries = 64      // of all maps together
)

// Report is a load report. No value is negative, infinite or NaN; those that the
// backend did not report are 0, which the message does not tell from a reported
// 0. Safe for concurrent use as long as nobody writes to it.
type Report struct {
	// CPU is the share of the CPU in use (cpu_utilization). It may exceed 1.
	CPU float64
	// Memory is the share of the memory in use, up to 1 (mem_utilization).
	Memory float64
	// Application is the share of whatever bounds the backend that is in use, as
	// the application sees it (application_utilization). It may exceed 1.
	Application float64
	// RPS is the rate of requests that the backend serves, whoever sends them, in
	// requests per second (rps_fractional or, if that is 0, the deprecated rps).
	RPS float64
	// EPS is the rate of requests that fail, in requests per second (eps).
	EPS float64

	// Utilization has the shares of further resources that are in use, each up to
	// 1, by name (utilization). Nil if there are none, as the maps below. There are
	// at most 64 entries in the three maps together.
	Utilization map[string]float64
	// NamedMetrics has metrics that only the application can explain, by name
	// (named_metrics).
	NamedMetrics map[string]float64
	// RequestCost has what this one request cost, in units that only the
	// application knows, by name (request_cost).
	RequestCost map[string]float64
}

// From returns the load report in h, the header or the trailer of a response.
// If there is none, found is false; it then costs two lookups and no memory. A
// faulty report counts as none, and err names the field of h and what to send
// instead. A field of more than 8 KiB, or one that is there twice, is faulty.
func From(h http.Header) (r Report, found bool, err error) {
	name, values := headerBin, h[headerBin]
	if len(values) == 0 {
		name, values = header, h[header]
	}
	if len(values) == 0 { // a trailer that is announced has a name, but no values yet
		return Report{}, false, nil
	}
	if r, err = parse(name, values); err != nil {
		return Report{}, false, fmt.Errorf("%s: %w", strings.ToLower(name), err)
	}
	return r, true, nil
}

func parse(name string, values []string) (Report, error) {
	if len(values) > 1 {
		return Report{}, fmt.Errorf("a response must have at most one, got %d", len(values))
	}
	if len(values[0]) > maxLength {
		return Report{}, fmt.Errorf("must have at most %d bytes, got %d", maxLength, len(values[0]))
	}
	format, rest := "BIN", trim(values[0])
	if name == header {
		format, rest, _ = strings.Cut(rest, " ")
	}
	var d draft
	var err error
	switch format {
	case "TEXT":
		err = d.text(rest)
	case "JSON":
		err = d.json(rest)
	case "BIN":
		err = d.binary(trim(rest))
	default:
		err = fmt.Errorf("must begin with TEXT, JSON or BIN and a space, got %.20q", format)
	}
	return d.report(), err
}

// trim removes the space that HTTP allows around values.
func trim(s string) string { return strings.Trim(s, " \t") }

// Load returns the utilization that weights are made of: what the application
// reports or, if that is 0, that of the CPU (gRFC A58, and A114 without names of
// metrics). It may exceed 1, and is 0 if neither is reported.
func (r *Report) Load() float64 {
	if r.Application > 0 {
		return r.Application
	}
	return r.CPU
}

// Weight returns the requests per second that the backend would serve if it were
// fully utilized, going by what it serves at its [Report.Load] now (gRFC A58):
// RPS / (Load + EPS/RPS * errorPenalty). errorPenalty is the utilization that a
// backend is taken to have if all of its requests fail; 1 is usual, 0 ignores
// errors, and it must not be negative. The weight is finite, and 0 if the report
// has no rate or no utilization to tell it from.
func (r *Report) Weight(errorPenalty float64) float64 {
	load := r.Load()
	if load <= 0 || r.RPS <= 0 {
		return 0
	}
	if errorPenalty > 0 { // 0 times an EPS/RPS that overflows is NaN
		load += r.EPS / r.RPS * errorPenalty
	}
	if weight := r.RPS / load; weight <= math.MaxFloat64 {
		return weight
	}
	return 0
}
