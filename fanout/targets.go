// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// target is one backend of one fan-out. run.mu guards the fields that change.
type target struct {
	backend *backend.Backend
	quit    chan struct{} // closed when the backend has left

	accepted  bool
	closed    bool // no further tries; true once the target has accepted
	left      bool // the backend has left the pool, or was taken out
	uncounted bool // it has left before the result and has not accepted: the quorum does not include it
	inFlight  bool
	sent      bool // a try may have reached the backend, with an unknown outcome
	status    int
	tries     int
	took      time.Duration
	err       string
	cancel    func(error) // cancels the try in flight
}

// write reports whether the backend has the write.
func (t *target) write() string {
	switch {
	case t.accepted:
		return writeYes
	case t.inFlight, t.sent:
		return writeUnknown
	}
	return writeNo
}

// Reasons why a member of the pool gets no request.
const (
	leftOutOperator = "taken out" // by an operator or its agent
	leftOutDown     = "down"
	leftOutEjected  = "ejected"
)

// reasonTooFew is the refusal reason when the pool has too few backends for the quorum.
const reasonTooFew = "too_few_backends"

// choose returns the targets of a request, the number of backends that the quorum refers to,
// and the omitted backends with reasons. The quorum excludes backends that an operator or an
// agent has taken out. Backends that are down or ejected become targets only if the others
// are too few for the quorum.
func choose(view *pool.View, q quorum) (targets []*target, total int, leftOut []omission, reason string) {
	var fit, unfit []*backend.Backend
	for _, b := range view.Members.All {
		switch {
		case !b.Admitted():
			leftOut = append(leftOut, omission{b.ID, leftOutOperator})
		case b.Serving():
			fit = append(fit, b)
		default:
			unfit = append(unfit, b)
		}
	}
	total = len(fit) + len(unfit)
	switch {
	case total == 0:
		return nil, 0, leftOut, string(reasonOf(view))
	case q.need(total) > total:
		return nil, total, leftOut, reasonTooFew
	case q.need(total) > len(fit):
		// Keep the order of the pool.
		fit, unfit = nil, nil
		for _, b := range view.Members.All {
			if b.Admitted() {
				fit = append(fit, b)
			}
		}
	}
	for _, b := range unfit {
		why := leftOutDown
		if b.Open() {
			why = leftOutEjected
		}
		leftOut = append(leftOut, omission{b.ID, why})
	}
	for _, b := range fit {
		targets = append(targets, &target{backend: b, quit: make(chan struct{})})
	}
	return targets, total, leftOut, ""
}

// reasonOf returns the reason why a pool has no backend to send to.
func reasonOf(view *pool.View) pool.Reason {
	if len(view.Members.All) == 0 {
		return pool.ReasonEmpty
	}
	for _, part := range view.EachGroup() {
		if part.Reason != pool.ReasonEmpty {
			return cmp.Or(part.Reason, pool.ReasonDown)
		}
	}
	return pool.ReasonDown
}
