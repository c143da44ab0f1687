// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"sync/atomic"
)

// Cause is why a request is refused.
type Cause string

// The causes.
const (
	// CauseLimit: as many as may be are in flight.
	CauseLimit Cause = "limit"
	// CauseQueueFull: likewise, and as many wait as may.
	CauseQueueFull Cause = "queue_full"
	// CauseQueueTimeout: it has waited too long.
	CauseQueueTimeout Cause = "queue_timeout"
	// CauseQueueDelay: it has waited too long for a time of overload.
	CauseQueueDelay Cause = "queue_delay"
	// CauseOutranked: the queue is full, and one that matters more has come.
	CauseOutranked Cause = "outranked"
	// CauseGone: its client has left while it waited.
	CauseGone Cause = "client_gone"
	// CausePressure: the machine is under pressure.
	CausePressure Cause = "pressure"
)

var causes = [...]Cause{CauseLimit, CauseQueueFull, CauseQueueTimeout, CauseQueueDelay, CauseOutranked, CauseGone, CausePressure}

var reasons = [...]Reason{
	ReasonIdle, ReasonCalm, ReasonRoom, ReasonSlow, ReasonSteady, ReasonDrops, ReasonMoved, ReasonProbe, ReasonMeasured, ReasonMissed,
}

// Counts count what has become of the requests at one gate, or several. Safe for
// concurrent use.
type Counts struct {
	admitted [levels]atomic.Int64
	queued   [levels]atomic.Int64 // of those, the ones that waited
	refused  [levels][len(causes)]atomic.Int64
	decided  [len(reasons)]atomic.Int64
}

// Admitted counts that a request was let in, after it waited or not.
func (c *Counts) Admitted(l Level, waited bool) {
	c.admitted[l].Add(1)
	if waited {
		c.queued[l].Add(1)
	}
}

// Refused counts that a request was refused.
func (c *Counts) Refused(l Level, cause Cause) {
	if i := slices.Index(causes[:], cause); i >= 0 {
		c.refused[l][i].Add(1)
	}
}

func (c *Counts) decide(r Reason) {
	if i := slices.Index(reasons[:], r); i >= 0 {
		c.decided[i].Add(1)
	}
}

// Totals are counts at one time.
type Totals struct {
	// Admitted and Queued count requests by level; those that were queued were
	// admitted too.
	Admitted, Queued [levels]int64
	// Refused counts requests by level and cause.
	Refused map[Level]map[Cause]int64
	// Decided counts what the rule has decided, by reason.
	Decided map[Reason]int64
}

// Totals returns the counts so far.
func (c *Counts) Totals() Totals {
	t := Totals{Refused: make(map[Level]map[Cause]int64), Decided: make(map[Reason]int64)}
	for l := range levels {
		t.Admitted[l], t.Queued[l] = c.admitted[l].Load(), c.queued[l].Load()
		t.Refused[l] = make(map[Cause]int64)
		for i, cause := range causes {
			t.Refused[l][cause] = c.refused[l][i].Load()
		}
	}
	for i, r := range reasons {
		t.Decided[r] = c.decided[i].Load()
	}
	return t
}

// Causes returns all causes.
func Causes() []Cause { return causes[:] }
