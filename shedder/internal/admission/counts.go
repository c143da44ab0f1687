// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"sync/atomic"
)

// Cause is the reason of a refusal.
type Cause string

// The causes.
const (
	// CauseLimit: the limit is reached.
	CauseLimit Cause = "limit"
	// CauseQueueFull: the limit is reached and the queue is full.
	CauseQueueFull Cause = "queue_full"
	// CauseQueueTimeout: the request has waited for the whole timeout.
	CauseQueueTimeout Cause = "queue_timeout"
	// CauseQueueDelay: the request has waited longer than overload allows.
	CauseQueueDelay Cause = "queue_delay"
	// CauseOutranked: a request of a higher level has taken the place in a full queue.
	CauseOutranked Cause = "outranked"
	// CauseGone: the client left while the request waited.
	CauseGone Cause = "client_gone"
	// CausePressure: the machine is under pressure.
	CausePressure Cause = "pressure"
)

var causes = [...]Cause{CauseLimit, CauseQueueFull, CauseQueueTimeout, CauseQueueDelay, CauseOutranked, CauseGone, CausePressure}

var reasons = [...]Reason{
	ReasonIdle, ReasonCalm, ReasonRoom, ReasonSlow, ReasonSteady, ReasonDrops, ReasonMoved, ReasonProbe, ReasonMeasured, ReasonMissed,
}

// Counts holds the counters of one or more gates. Safe for concurrent use.
type Counts struct {
	admitted [levels]atomic.Int64
	queued   [levels]atomic.Int64 // the admitted requests that waited
	refused  [levels][len(causes)]atomic.Int64
	decided  [len(reasons)]atomic.Int64
}

// Admitted counts an admitted request, and whether it waited.
func (c *Counts) Admitted(l Level, waited bool) {
	c.admitted[l].Add(1)
	if waited {
		c.queued[l].Add(1)
	}
}

// Refused counts a refused request.
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

// Totals are the counts at one moment.
type Totals struct {
	// Admitted and Queued count requests by level; queued requests are admitted ones that
	// waited.
	Admitted, Queued [levels]int64
	// Refused counts requests by level and cause.
	Refused map[Level]map[Cause]int64
	// Decided counts the decisions of rules, by reason.
	Decided map[Reason]int64
}

// Totals returns the current counts.
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
