// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import "time"

// Rules are the ejection rules of a pool. Read-only.
type Rules struct {
	// ConsecutiveErrors is the number of errors in a row that ejects; 0 for never.
	ConsecutiveErrors int
	// ErrorStatus marks the statuses that are errors. Failed attempts are errors, too.
	ErrorStatus [600]bool
	// ErrorRatio is the share of errors among the attempts of one interval that ejects; 0 for
	// never.
	ErrorRatio float64
	// MinRequests is the number of attempts that an interval needs to be evaluated.
	MinRequests int64
	// Latency ejects a backend whose average latency in one interval is more than this multiple
	// of the median of its pool; 0 for never.
	Latency float64
	// LatencyByBody compares the times to the first byte of the body, and not to the header.
	LatencyByBody bool
	// Interval is the length of an interval.
	Interval time.Duration
	// Stall is the duration of silence that is a stall; 0 disables stall detection.
	Stall time.Duration
	// EjectFor, multiplied by the number of recent ejections and at most MaxEjectFor, is the
	// duration of an ejection.
	EjectFor, MaxEjectFor time.Duration
	// MaxEjected is the share of a tier that may be ejected at a time. One backend always may,
	// and all may while other tiers can take the requests.
	MaxEjected float64
}

// IsError reports whether an attempt counts as an error.
func (o *Rules) IsError(status int, err error) bool {
	return err != nil || status > 0 && status < len(o.ErrorStatus) && o.ErrorStatus[status]
}

// AnsweredInTime is the longest time to a header that stall detection counts as in time. It leaves
// a quarter of Stall for the detection.
func (o *Rules) AnsweredInTime() time.Duration { return o.Stall * 3 / 4 }

// TrialTimeout is how long a client waits for a trial, at least, for its leaving to fail the trial.
func (o *Rules) TrialTimeout() time.Duration { return max(o.Stall, time.Second) }
