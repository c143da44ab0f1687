// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// Whether a backend has the write.
const (
	writeYes     = "yes"     // it has accepted it
	writeNo      = "no"      // it has refused it, or it never got there
	writeUnknown = "unknown" // it got there, perhaps, and no answer came
)

// report is what has become of a fan-out, as JSON.
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
	// Those that were not asked, and those that came and went meanwhile.
	LeftOut  []omission      `json:"left_out,omitempty"`
	Joined   []string        `json:"joined,omitempty"`
	Left     []string        `json:"left,omitempty"`
	Backends []backendReport `json:"backends"`
}

// omission is a backend that was not asked, and why.
type omission struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// backendReport is what has become of the request at one backend.
type backendReport struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Write is yes, no or unknown.
	Write string `json:"write"`
	// Status is that of the latest answer; 0 for none.
	Status int `json:"status"`
	Tries  int `json:"tries"`
	// Seconds is the time from the beginning to the end of the latest try.
	Seconds float64 `json:"seconds"`
	// Pending says that it is being tried, or will be again.
	Pending bool   `json:"pending,omitempty"`
	Error   string `json:"error,omitempty"`
}

// add takes in what has become of one backend.
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

// seconds rounds a time to microseconds, which is what JSON needs to tell.
func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
