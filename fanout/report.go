// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// Whether a backend has the write.
const (
	writeYes     = "yes"     // the backend has accepted it
	writeNo      = "no"      // the backend has refused it, or it never arrived
	writeUnknown = "unknown" // it may have arrived, but no response came
)

// report is the JSON report of a fan-out.
type report struct {
	Result   string `json:"result"`
	Quorum   string `json:"quorum"`
	Of       int    `json:"of"`
	Needed   int    `json:"needed"`
	Accepted int    `json:"accepted"`
	// Key is the idempotency key.
	Key string `json:"idempotency_key"`
	// The ids of the backends that have the write, do not have it, and may have it.
	Have    []string `json:"have"`
	HaveNot []string `json:"have_not"`
	Unknown []string `json:"unknown"`
	// Backends that got no request, and backends that joined or left during the fan-out.
	LeftOut  []omission      `json:"left_out,omitempty"`
	Joined   []string        `json:"joined,omitempty"`
	Left     []string        `json:"left,omitempty"`
	Backends []backendReport `json:"backends"`
}

// omission is a backend that got no request, with the reason.
type omission struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// backendReport is the state of the request at one backend.
type backendReport struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Write is yes, no or unknown.
	Write string `json:"write"`
	// Status is the status of the latest response; 0 for none.
	Status int `json:"status"`
	Tries  int `json:"tries"`
	// Seconds is the time from the start of the fan-out to the end of the latest try.
	Seconds float64 `json:"seconds"`
	// Pending is true while a try is in flight or may follow.
	Pending bool   `json:"pending,omitempty"`
	Error   string `json:"error,omitempty"`
}

// add adds a backend to the report.
func (r *report) add(b backendReport) {
	list := &r.Unknown
	switch b.Write {
	case writeYes:
		list = &r.Have
	case writeNo:
		list = &r.HaveNot
	}
	*list = append(*list, b.ID)
	r.Backends = append(r.Backends, b)
}

// seconds rounds a time to microseconds, for short JSON.
func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
