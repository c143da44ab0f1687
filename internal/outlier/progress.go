// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import "time"

// AttemptCounts counts attempts of one kind.
type AttemptCounts struct {
	// Begun counts attempts. Ended counts attempts that no longer wait for a header: they
	// received one, or ended without.
	Begun, Ended int64
	// Quick counts the headers that came within [Rules.AnsweredInTime].
	Quick int64
	// TimedOut counts attempts whose clients left after [Rules.AnsweredInTime] without a header.
	TimedOut int64
}

// Progress is the total progress of the attempts on a backend.
type Progress struct {
	AttemptCounts
	// Unbound counts the attempts bound by neither a key nor a session.
	Unbound AttemptCounts
	// Answered counts attempts that received a response header.
	Answered int64
	// AnsweredAt is when the latest header came, as of [clock.Now]; 0 for never.
	AnsweredAt time.Duration
}
