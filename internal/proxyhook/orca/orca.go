// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package orca reads the load reports that backends send in the header or the trailer of their
// responses: Open Request Cost Aggregation, with the message xds.data.orca.v3.OrcaLoadReport of
// github.com/cncf/xds.
//
//	endpoint-load-metrics-bin: BASE64        the message as protobuf (gRFC A51)
//	endpoint-load-metrics: BIN BASE64        likewise
//	endpoint-load-metrics: TEXT eps=1, ...   its fields, those of maps as map.key
//	endpoint-load-metrics: JSON {...}        the message as proto3 JSON
//
// The first of the two headers counts. Fields that do not affect the weight (mem_utilization, and
// of the maps all but one [Metric]) are skipped, whatever they hold. One invalid value in the other fields invalidates
// the whole report: a backend that sends a utilization of -1 is not trusted with the rest.
package orca

import (
	"fmt"
	"math"
	"net/http"
	"strings"
)

// Envoy once read endpoint-load-metrics-json, too. To look for it would cost every response half
// as much again.
const (
	header    = "Endpoint-Load-Metrics"
	headerBin = "Endpoint-Load-Metrics-Bin"
)

// maxLength limits the header field, in bytes. Any response may carry a report, so it must be
// cheap to read.
const maxLength = 8 << 10

// Report holds the fields of a load report that affect the weight. No value is negative, infinite
// or NaN. A field that the backend did not report is 0, which the message does not distinguish
// from a reported 0.
type Report struct {
	// CPU is the share of the CPU in use (cpu_utilization). It may exceed 1.
	CPU float64
	// Application is the utilization of the resource that limits the backend, as measured by the
	// application (application_utilization). It may exceed 1.
	Application float64
	// Named is the utilization by the [Metric], as the backend defines it. It may exceed 1.
	Named float64
	// RPS is the rate of all requests that the backend serves, from any sender, in requests per
	// second (rps_fractional or, if that is 0, the deprecated rps).
	RPS float64
	// EPS is the rate of failed requests, in requests per second (eps).
	EPS float64
}

// From returns the load report in h, the header or the trailer of a response. If there is none,
// found is false; that case costs two lookups and no allocation. An invalid report counts as
// none, and err names the field of h and what to send instead. A field of more than 8 KiB, or one
// that is repeated, is invalid.
func (m Metric) From(h http.Header) (r Report, found bool, err error) {
	name, values := headerBin, h[headerBin]
	if len(values) == 0 {
		name, values = header, h[header]
	}
	if len(values) == 0 { // an announced trailer has a key, but no values yet
		return Report{}, false, nil
	}
	if r, err = m.parse(name, values); err != nil {
		return Report{}, false, fmt.Errorf("%s: %w", strings.ToLower(name), err)
	}
	return r, true, nil
}

func (m Metric) parse(name string, values []string) (Report, error) {
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
	p := parser{metric: m}
	var err error
	switch format {
	case "TEXT":
		err = p.text(rest)
	case "JSON":
		err = p.json(rest)
	case "BIN":
		err = p.binary(trim(rest))
	default:
		err = fmt.Errorf("must begin with TEXT, JSON or BIN and a space, got %.20q", format)
	}
	return p.result(), err
}

// trim removes the whitespace that HTTP allows around values.
func trim(s string) string { return strings.Trim(s, " \t") }

// Load returns the utilization for the weight: that of the metric or, if that is 0, the
// application's or, if that is 0 too, that of the CPU (gRFC A58 and A114; Envoy has this order
// since 1.38). It may exceed 1, and is 0 if none is reported.
func (r *Report) Load() float64 {
	if r.Named > 0 {
		return r.Named
	}
	if r.Application > 0 {
		return r.Application
	}
	return r.CPU
}

// Weight returns the estimated request rate of the backend at full utilization, in requests per
// second, from its rate at the current [Report.Load] (gRFC A58): RPS / (Load + EPS/RPS *
// errorPenalty). errorPenalty is the utilization added if all requests fail; 1 is usual, 0
// ignores errors, and it must not be negative. The weight is finite, and 0 if the report has no
// rate or no utilization.
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
